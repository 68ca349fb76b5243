"""What `forget` refuses before it looks at a database, what it asks, and where it looks for a name."""

from collections import Counter

import pytest

from fraudstream.cli import inputs
from fraudstream.cli.main import run
from fraudstream.schema import FIELDS, PERSONAL
from fraudstream.settings import PostgresSettings
from fraudstream.store import forget


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


def test_a_name_is_looked_for_in_every_field_of_a_person() -> None:
    assert sorted({*FIELDS} - {*forget.IMPERSONAL}) == sorted({"user_id", *PERSONAL})


@pytest.mark.parametrize(
    ("rows", "asked"),
    [
        ({"transactions": 1_200, "rejected": 1_034}, "2,234 rows about u, 1,034 of them rejected messages?"),
        ({"transactions": 2, "rejected": 0}, "2 rows about u?"),
    ],
)
def test_the_question_says_how_many_rejected_messages_are_meant(
    rows: dict[str, int], asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody expects thousands for one customer: an id that is a common word shows before anything is deleted."""
    questions: list[str] = []

    def declined(question: str) -> bool:
        questions.append(question)
        return False

    monkeypatch.setattr(inputs, "database", PostgresSettings)
    monkeypatch.setattr(forget, "count", lambda *_: Counter(rows))
    monkeypatch.setattr("fraudstream.cli.forget.agreed", declined)
    assert run(["forget", "--user", "u"]) == 1
    assert questions == [f"Permanently delete {asked}"]
