"""What was typed wrongly: the exit code, what is said of it, and how it looks to a script."""

import json
from pathlib import Path

import pytest

from fraudstream.cli.main import run
from fraudstream.errors import ExitCode

pytestmark = pytest.mark.usefixtures("empty_environment")

DATA = ("--data", "t.csv")


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", *DATA, "--profiles", "--with-verdicts"),
        ("score", "--data", "-", "--with-verdicts"),
        ("train", *DATA, "--output", "m", "--map", "amount"),
        ("train", *DATA, "--output", "m", "--map", "a=price"),
        ("train", *DATA, "--output", "m", "--map", "a=amount", "--map", "b=amount"),
        ("train", *DATA, "--output", "m", "--features", "nosuch"),
        ("train", *DATA, "--output", "m", "--features", "amount,amount"),
        ("train", *DATA, "--output", "m", "--features", ","),
        ("evaluate", *DATA, "--map", "amount"),
        ("label", "--from", "t.csv", "--map", "x=zzz"),
        ("label", "--from", "t.csv", "--by", ""),
        ("label", "t", "--fraud", "--by", " "),
        ("produce", "--from", "t.csv", "--fill", "zzz=1"),
        ("produce", "--from", "t.csv", "--map", "zzz"),
        ("produce", "--dry-run", "--count", "1", "--seed", str(2**63)),
        ("produce", "--dry-run", "--count", "1", "--users", str(10**9)),
        ("produce", "--dry-run", "--count", "1", "--start", "0001-01-01"),
        ("produce", "--dry-run", "--count", "1", "--start", "9999-01-01"),
        ("produce", "--dry-run", "--count", "1", "--scenario", "nosuch"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_wrong_use(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts tell it from work that failed by the exit code."""
    assert run(list(arguments)) == ExitCode.USAGE
    assert run([*arguments, "--json"]) == ExitCode.USAGE
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


@pytest.mark.parametrize("command", ["score", "evaluate"])
def test_a_mistyped_directory_of_a_model_is_called_one_where_there_is_no_registry(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("model").mkdir()
    assert run([command, *DATA, "--model", "modle"]) == ExitCode.FAILED
    said = capsys.readouterr().err
    assert "There is no directory modle, and no PostgreSQL in whose registry to look" in said


def test_an_error_as_json_is_one_line_as_it_may_end_a_stream_of_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["evaluate", *DATA, "--model", "no/such", "--json"]) == ExitCode.FAILED
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["error"]["code"] == "input"
