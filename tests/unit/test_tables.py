"""Tables for people, on terminals of any width."""

import pytest

from fraudstream.cli.output import print_table

VERSION = "20260101-120000-123"


@pytest.mark.parametrize("columns", ["10", "40", "80"])
def test_cells_that_are_there_to_be_copied_are_whole_on_the_narrowest_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are folded, and where even that does not do, the terminal wraps the lines."""
    monkeypatch.setenv("COLUMNS", columns)
    row = (VERSION, "candidate", "words " * 9)
    print_table("Models", ("version", "status", "words"), [row], whole=("version", "status"))
    printed = capsys.readouterr().out
    assert VERSION in printed
    assert "candidate" in printed
    assert printed.count("words") == 10
    assert "…" not in printed
