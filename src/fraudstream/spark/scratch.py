"""Spark's files on disk while a command runs, which are deleted after the command, however it ended.

Spark deletes its own directories only if its JVM ends cleanly. A JVM that was killed, or out of memory, left 10 MB each time.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "fraudstream-spark-"
LOCK: Final = "in-use"
"""Lock of the process that uses the directory. The system releases it when the process ends; unlike a process id, which
containers may reuse, it cannot be mistaken."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for this command, below the system's temporary one; first deletes those of commands that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_abandoned(left)
    place = Path(tempfile.mkdtemp(prefix=PREFIX))
    unlocked = place / "new"
    with unlocked.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unlocked.rename(place / LOCK)  # it becomes visible only once it is locked
        try:
            with _kept(place):
                yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _kept(place: Path) -> Iterator[None]:
    """Hold a lock on the directory itself, so that systemd does not delete what is old in it (tmpfiles.d(5)).

    After ten days without a promotion PySpark's own directory in there was gone, and every later one failed.
    """
    # Python passes no descriptor on to the JVM, which may live for a moment longer than a command that is killed.
    directory = os.open(place, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks on directories: all else works
            fcntl.flock(directory, fcntl.LOCK_SH)  # which NFS grants to readers, too
        yield
    finally:
        os.close(directory)


def _remove_abandoned(place: Path) -> None:
    with suppress(OSError):  # in use, another user's, or gone meanwhile
        if place.lstat().st_uid == os.geteuid():
            with (place / LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)
