"""What Spark keeps on disk while a command runs is gone with it, also where it was killed."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fraudstream.spark.scratch import scratch

PROGRAM = """
import os, signal, sys
from pathlib import Path
import psutil
from fraudstream.settings import Settings
from fraudstream.spark.command import spark_session
from fraudstream.spark.source import new_checkpoint

settings = Settings(_env_file=None, home=Path(sys.argv[1]), jars=Path(sys.argv[2]))
with spark_session(settings, "scratch") as spark, new_checkpoint(spark) as checkpoint:
    spark.range(10).repartition(2).collect()
    for one in [*psutil.Process().children(recursive=True), psutil.Process()]:
        one.kill()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary directory."""
    found = tmp_path / "tmp"
    found.mkdir()
    monkeypatch.setenv("TMPDIR", str(found))
    monkeypatch.setattr("tempfile.tempdir", None)
    return found


def test_a_command_that_was_killed_leaves_one_directory_which_the_next_one_takes_away(
    place: Path, tmp_path: Path, filled_cache: Path
) -> None:
    """With Spark's jars, its blocks and the checkpoint in it; 10 MB stayed for ever each time."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "home"), str(filled_cache)]
    assert subprocess.run(command, timeout=300, check=False, capture_output=True).returncode == -9
    # Its log quotes data, whether or not `up` made the directory.
    modes = [oct((tmp_path / "home" / name).stat().st_mode)[-3:] for name in (".", "logs")]
    assert modes == ["711", "700"]
    (left,) = place.iterdir()
    assert list(left.glob("blockmgr-*"))
    assert list(left.glob("fraudstream-checkpoint-*"))
    with scratch() as next_one:
        assert list(place.iterdir()) == [next_one]
    assert list(place.iterdir()) == []


def test_what_another_command_uses_stays(place: Path) -> None:
    with scratch() as first, scratch() as second:
        assert first.is_dir()
        assert sorted(place.iterdir()) == sorted((first, second))
    assert list(place.iterdir()) == []


def aged(place: Path) -> bool:
    """Whether what cleans the system's temporary directory, systemd's or one like it, would look into this one."""
    directory = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(directory)
    return True


@pytest.mark.usefixtures("place")
def test_what_a_command_uses_for_weeks_is_not_deleted_as_old() -> None:
    """PySpark's own directory is empty for most of the time; without it, no promoted model could be loaded any more."""
    with scratch() as used:
        assert not aged(used)
        with scratch():
            assert used.is_dir()
        assert not aged(used), "the next command looks for what a killed one left, and leaves this alone"
