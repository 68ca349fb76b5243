"""Archives of Java's classes: what one JVM read from its jars and checked, the next maps into memory as it is.

A start of Spark reads thousands of classes out of hundreds of jars, which is about half of its CPU time. This is the
class data sharing of Java 13 and later: a JVM writes the archive as it ends, and one that finds an archive which does
not fit its build, its jars or their times goes on without, and without a word.
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

from fraudstream.logs import get_logger

log = get_logger("local.classes")

KEPT = 4
"""Archives: of Spark and of Kafka, for two environments that share a cache."""
ROOM_BYTES = 2 << 30
"""Free on the disk of the cache, else no archive is written: that of Spark has 150 MB."""
WRITING_SECONDS = 3600.0
"""After so long without a change half an archive is what a JVM left that was killed: writing takes seconds."""
_TOLD_BY_OTHERS = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "SPARK_SUBMIT_OPTS")
_HARMLESS = re.compile(r"-Xm[sx]\w+|-Xss\w+|-D(?!java\.|jdk\.)\S+|-XX:TieredStopAtLevel=\d")
"""With others a Java that is told to write an archive may not start at all: agents, other modules and loaders, `-Xshare:off`,
files of options that we have not read. Too many to know, so only these are let pass."""
_VERIFIED = "-XX:+VerifySharedSpaces"
"""Java adds the archive up before it starts from it: one that a machine lost a part of as it crashed would crash Java."""
_QUIET = "-Xlog:cds*=off"
"""As it writes, Java would name each of hundreds of classes that it leaves out."""


def options(cache: Path, java: Path, jars: Iterable[Path], *, write: bool) -> list[str]:
    """What a JVM with these jars is told: the archive to start from, else one to `write` as it ends.

    `cache` holds the archives. `write` is for commands that soon end by themselves: a stream of days would keep in mind
    which classes it has loaded, and its archive would come late.
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
    # A name of its own: two that end at once would write into one file, and one that is killed leaves half of it.
    return [f"-XX:ArchiveClassesAtExit={place / f'{name}.{uuid4().hex}.part'}", _QUIET]


def _ours(place: Path) -> bool:
    """Whether nobody else may put an archive there: it holds code, and only Java's checksum guards it, which anybody can set."""
    if not place.exists():
        return True
    stat = place.stat()
    return stat.st_uid in {0, os.geteuid()} and not stat.st_mode & 0o022


def _undisturbed() -> bool:
    """Whether neither the environment nor files of Spark's tell Java anything that may not go with an archive."""
    told = " ".join(os.environ.get(name, "") for name in _TOLD_BY_OTHERS).split()
    others = any(os.environ.get(name) for name in ("SPARK_HOME", "SPARK_CONF_DIR"))
    return not others and all(map(_HARMLESS.fullmatch, told))


def _name(java: Path, jars: Iterable[Path]) -> str:
    """Differs where Java would refuse the archive: another Java, other jars, or a newer copy of one."""
    seen = hashlib.sha256()
    for file in (java.resolve(), *jars):
        stat = file.stat()
        seen.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return seen.hexdigest()[:16]


def _take(place: Path) -> None:
    """Let the first whole archive of each name that a JVM has written serve, and delete what is not needed any more."""
    for part in place.glob("*.part"):
        with suppress(OSError):  # another command has just done it, or the cache is another user's
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
    """Java writes the head of an archive when all the rest is written."""
    with part.open("rb") as file:
        return any(file.read(4))


def _size(archive: Path) -> int:
    """Bytes that it had when it was whole. Java does not notice that an archive was cut, and crashes."""
    return int(archive.suffixes[0].removeprefix("."))
