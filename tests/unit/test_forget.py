"""What `forget` refuses before it looks at a database."""

import pytest

from fraudstream.cli.main import run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give one of --user and --older-than"),
        (("--user", "u", "--older-than", "9"), "give one of --user and --older-than"),
        (("--older-than", "tomorrow"), "a number of days, or an ISO 8601 date"),
        (("--older-than", "0"), "not in the past"),
        (("--older-than", "2999-01-01"), "not in the past"),
        (("--older-than", "9" * 30), "a number of days, or an ISO 8601 date"),
        (("--user", ""), "No customer can have this id: empty"),
    ],
)
def test_a_wrong_order_to_forget_is_refused(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["forget", *arguments, "--yes"]) in (1, 2)
    assert sentence in capsys.readouterr().err
