"""Archives of Java classes: what one JVM loaded from its jars and verified, the next maps into memory.

At its start, Spark reads thousands of classes from hundreds of jars, which is about half of its CPU time. This is the
class data sharing of Java 13 and later: a JVM writes the archive as it ends, and silently ignores an archive that does
not match its build, its jars or their times.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from fraudstream.local.java import OPTIONS
from fraudstream.logs import get_logger

log = get_logger("local.classes")

KEPT = 4
"""Maximum number of archives: of Spark and of Kafka, for two environments that share a cache."""
ROOM_BYTES = 2 << 30
"""Free bytes required on the disk of the cache to write an archive: Spark's has 150 MB."""
WRITING_SECONDS = 3600.0
"""After this many seconds without a change, a partial archive is left over from a killed JVM: writing takes seconds."""
_TOLD_BY_OTHERS = (*OPTIONS, "SPARK_SUBMIT_OPTS")
_HARMLESS = re.compile(r"-Xm[sx]\w+|-Xss\w+|-D(?!java\.|jdk\.)\S+|-XX:TieredStopAtLevel=\d")
"""With other options, a Java that should write an archive may not start at all: agents, other modules and loaders,
`-Xshare:off`, files of options. There are too many to list, so only these are allowed."""
_VERIFIED = "-XX:+VerifySharedSpaces"
"""Java verifies the archive's checksum before it uses it: one damaged by a crash of the machine would crash Java."""
_QUIET = "-Xlog:cds*=off"
"""Without it, Java would list hundreds of classes that it leaves out."""


def options(cache: Path, java: Path, jars: Iterable[Path], *, write: bool) -> list[str]:
    """Options of a JVM with these jars: the archive to start from, else one to `write` as it ends.

    `cache` is the directory of the archives. `write` is for commands that soon end by themselves: a long-running stream
    would have to keep track of its loaded classes, and would write its archive late.
    """
    place = cache / "classes"
    try:
        name = _name(java, jars)
        if not (_ours(place) and _undisturbed()):
            return []
        _take(place)
        for archive in place.glob(f"{name}.*.jsa"):
            if _size(archive) == archive.stat().st_size:
                return [f"-XX:SharedArchiveFile={archive}", _VERIFIED, _QUIET]
            archive.unlink()
        if not write:
            return []
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        if shutil.disk_usage(place).free < ROOM_BYTES or not os.access(place, os.W_OK):
            return []
    except OSError as error:
        log.debug("No archive of classes in %s: %s", place, error)
        return []
    # A unique name: two that end at the same time would write the same file, and one that is killed leaves half of it.
    return [f"-XX:ArchiveClassesAtExit={place / f'{name}.{uuid4().hex}.part'}", _QUIET]


def _ours(place: Path) -> bool:
    """Whether nobody else may write an archive there: it contains code, protected only by a checksum that anybody can set."""
    if not place.exists():
        return True
    stat = place.stat()
    return stat.st_uid in {0, os.geteuid()} and not stat.st_mode & 0o022


def _undisturbed() -> bool:
    """Whether neither the environment nor Spark's files set Java options that may conflict with an archive."""
    told = " ".join(os.environ.get(name, "") for name in _TOLD_BY_OTHERS).split()
    others = any(os.environ.get(name) for name in ("SPARK_HOME", "SPARK_CONF_DIR"))
    return not others and all(map(_HARMLESS.fullmatch, told))


def _name(java: Path, jars: Iterable[Path]) -> str:
    """A name that differs whenever Java would reject the archive: another Java, other jars, or a newer copy of one."""
    seen = hashlib.sha256()
    for file in (java.resolve(), *jars):
        stat = file.stat()
        seen.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return seen.hexdigest()[:16]


def _take(place: Path) -> None:
    """Use the first complete archive of each name that a JVM has written, and delete what is no longer needed."""
    for part in place.glob("*.part"):
        with suppress(OSError):  # another command has just done it, or the cache belongs to another user
            name = part.name.partition(".")[0]
            if not _whole(part):
                if time.time() - part.stat().st_mtime > WRITING_SECONDS:
                    part.unlink()
            elif any(place.glob(f"{name}.*.jsa")):
                part.unlink()
            else:
                part.rename(place / f"{name}.{part.stat().st_size}.jsa")
                for old in sorted(place.glob("*.jsa"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
                    old.unlink()


def _whole(part: Path) -> bool:
    """Whether the archive is complete: Java writes its header last."""
    with part.open("rb") as file:
        return any(file.read(4))


def _size(archive: Path) -> int:
    """The archive's size in bytes when it was complete. Java does not notice that one was truncated, and crashes."""
    return int(archive.suffixes[0].removeprefix("."))
