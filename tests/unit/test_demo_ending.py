"""What the demo says at its end, to somebody who goes on from there."""

import json
from pathlib import Path
from typing import Any

import pytest

from fraudstream.cli.main import run
from fraudstream.demo.story import Ending
from fraudstream.settings import ENDPOINTS
from fraudstream.store.glance import Glance


@pytest.fixture(autouse=True)
def _ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A demo that ended just now, with an embedded PostgreSQL that still runs."""
    ending = Ending(Glance(0, 0, None, None, None, 0, 0, 0, 0), None, None, _model(), 1.0, interrupted=False)
    monkeypatch.setattr("fraudstream.demo.story.run", lambda *_: ending)
    monkeypatch.setenv("FRAUDSTREAM_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    address = {"host": "127.0.0.1", "port": 55432, "user": "fraudstream", "database": "fraudstream"}
    (tmp_path / ENDPOINTS).write_text(json.dumps({"postgres": address}))


def _model() -> Any:
    return None  # nobody asks for it


def test_somebody_with_a_postgresql_of_their_own_hears_what_to_unset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`alerts explain` of the demo's alert would look for it there, and `label` write into it."""
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__HOST", "127.0.0.1")
    (tmp_path / ".env").write_text("FRAUDSTREAM_POSTGRES__PASSWORD=hush-hush\n")
    assert run(["demo"]) == 0
    told = capsys.readouterr().out
    assert "first unset FRAUDSTREAM_POSTGRES__HOST, FRAUDSTREAM_POSTGRES__PASSWORD, here or in .env" in told
    assert "at 127.0.0.1:5432/fraudstream, which the demo did not use" in told
    assert "hush-hush" not in told


def test_half_of_another_postgresql_is_to_be_unset_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands that the demo suggests refuse it."""
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__DATABASE", "shop")
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__RETRY_SECONDS", "5")
    assert run(["demo"]) == 0
    told = capsys.readouterr().out
    assert "first unset FRAUDSTREAM_POSTGRES__DATABASE, here or in .env" in told


def test_somebody_who_sees_few_frauds_found_hears_which_ones_the_fast_clock_hides(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 37 payments in bursts 2 were found at 60 times real time, and 31 with profiles up to date."""
    for missed, told in ((35, True), (0, False)):
        glance = Glance(900, 30, 5.0, 40.0, 30.0, 20, 10, 90, missed)
        ending = Ending(glance, None, None, _model(), 1.0, interrupted=False)
        monkeypatch.setattr("fraudstream.demo.story.run", lambda *_, ending=ending: ending)
        assert run(["demo"]) == 0
        said = capsys.readouterr().out
        assert ("Of those missed, 35 belong to bursts of purchases within minutes" in said) is told


@pytest.mark.parametrize("names", [{}, {"HOST": "127.0.0.1", "PORT": "55432"}])
def test_nobody_else_hears_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], names: dict[str, str]
) -> None:
    for name, value in names.items():
        monkeypatch.setenv(f"FRAUDSTREAM_POSTGRES__{name}", value)
    assert run(["demo"]) == 0
    assert "unset" not in capsys.readouterr().out
