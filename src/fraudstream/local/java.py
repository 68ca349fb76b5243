"""Finds a Java that both Kafka 4.3 and Spark 4.2 run on: 17 to 21."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fraudstream.errors import JavaMissing

OLDEST, NEWEST = 17, 21
"""Spark 4.2 needs 17; its Hadoop client calls `Subject.getSubject`, which Java versions above 21 removed."""
USUAL_PLACES = (
    "/usr/lib/jvm/*",
    "/usr/java/*",
    "/opt/java/*",
    "/opt/jdk*",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "/opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
    "~/.sdkman/candidates/java/*",
    "~/.jdks/*",
)
_VERSION = re.compile(r'version "(?:1\.)?(\d+)[^"]*"')
_HOME = re.compile(r"^\s*java\.home = (.+)$", re.MULTILINE)
COMPILE_LATER = (
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=6000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=400000",
)
"""Java's optimising compiler waits ten times as long as by default. In the first minute it competes for the cores with
what it compiles: a first alert came after 103 s instead of 109 to 120. What really runs hot is compiled all the same."""
OPTIONS = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
"""Variables from which every Java takes options."""
_ANSWER_SECONDS = 20.0
"""Timeout in seconds: Java prints its version in 0.1 s; enough under load, but not for a hanging wrapper script."""


@dataclass(frozen=True, slots=True)
class Java:
    """An installed Java: its home (for JAVA_HOME) and its major version."""

    home: Path
    version: int

    @property
    def binary(self) -> Path:
        """The executable."""
        return self.home / "bin" / "java"

    @property
    def suits(self) -> bool:
        """Whether both Kafka and Spark run on it."""
        return OLDEST <= self.version <= NEWEST


def find_java(environ: Mapping[str, str] = os.environ, places: Sequence[str] = USUAL_PLACES) -> Java:
    """The first suitable Java: JAVA_HOME, then PATH, then the usual places. Each is run to find its version.

    Raises JavaMissing, which lists those that were found but are not suitable, or names options that Java refuses.
    """
    found: list[Java] = []
    failed: list[Path] = []
    for binary in _candidates(environ, places):
        java = ask(binary)
        if java is not None and java.suits:
            return java
        if java is None:
            failed.append(binary)
        elif java not in found:
            found.append(java)
    if failed and not found:
        _blame_options(failed[0], environ)
    listed = ", ".join(f"Java {java.version} in {java.home}" for java in found)
    raise JavaMissing(
        f"No Java {OLDEST} to {NEWEST} was found{f', only {listed}' if listed else ''}.",
        hint=(
            "Install one, for example `apt-get install openjdk-17-jre-headless` or `brew install openjdk@17`,"
            " or point JAVA_HOME at it."
        ),
    )


def quoted(option: str) -> str:
    """As Java's files of options and Spark's launcher take it: a value may hold spaces, quotes and backslashes."""
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'


def ask(binary: Path) -> Java | None:
    """The Java of `binary`, or None if it is not Java or does not run."""
    text = _answer(binary)
    version = _VERSION.search(text)
    if version is None:
        return None
    # The home that it reports itself counts: `binary` may be a link or the wrapper of a version manager.
    home = _HOME.search(text)
    return Java(Path(home[1].strip()) if home else binary.resolve().parent.parent, int(version[1]))


def _answer(binary: Path) -> str:
    """What it says about itself; empty if it does not run."""
    try:
        answer = subprocess.run(
            [str(binary), "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stderr + answer.stdout


def _blame_options(binary: Path, environ: Mapping[str, str]) -> None:
    """Raise JavaMissing if it does not start with the options that the environment gives to every Java."""
    given = [name for name in OPTIONS if environ.get(name)]
    if not given or not (lines := [line for line in _answer(binary).splitlines() if line.strip()]):
        return
    reason = next((line for line in lines if re.search("[Ee]rror|nrecognized", line)), lines[-1])
    raise JavaMissing(
        f"{binary} does not start: {reason.strip().rstrip('.')}.",
        hint=f"It takes options from {' and '.join(given)} of the environment: correct or unset {'them' if len(given) > 1 else 'it'}.",
    )


def _candidates(environ: Mapping[str, str], places: Sequence[str]) -> Iterator[Path]:
    """Every `java` to try, each file once."""
    seen: set[Path] = set()
    for binary in _named(environ, places):
        real = binary.resolve()
        if real not in seen and os.access(real, os.X_OK):
            seen.add(real)
            yield binary


def _named(environ: Mapping[str, str], places: Sequence[str]) -> Iterator[Path]:
    if environ.get("JAVA_HOME"):
        yield Path(environ["JAVA_HOME"]) / "bin" / "java"
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    if on_path:
        yield Path(on_path)
    for place in places:
        pattern = Path(place).expanduser() / "bin" / "java"
        yield from sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
