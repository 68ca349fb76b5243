"""What Spark keeps on disk while a command runs: gone with the command, however it ended.

Spark's own directories go when its JVM ends in order. One that is killed, or out of memory, left 10 MB each time.
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
"""Held by whoever uses the directory. The system lets go of it when the process ends, and no other one can seem to be
that process, as with a number that containers give twice."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory of this command's own, below the system's temporary one; those of commands that were killed go first."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_abandoned(left)
    place = Path(tempfile.mkdtemp(prefix=PREFIX))
    unlocked = place / "new"
    with unlocked.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unlocked.rename(place / LOCK)  # nobody meets it before it is held
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _remove_abandoned(place: Path) -> None:
    with suppress(OSError):  # in use, another user's, or gone meanwhile
        if place.lstat().st_uid == os.geteuid():
            with (place / LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)
