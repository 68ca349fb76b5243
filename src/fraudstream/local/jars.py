"""The jars of Kafka and of Spark's Kafka connector: fetched once, checked against pinned checksums, cached.

Ivy, which ships inside PySpark, fetches them, from Maven Central unless `FRAUDSTREAM_IVY_SETTINGS`
names an ivysettings.xml with another repository.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from xml.sax.saxutils import quoteattr

from fraudstream.errors import JarsMissing, ServiceError
from fraudstream.local import proxy
from fraudstream.local.home import file_lock
from fraudstream.local.java import find_java, quoted
from fraudstream.logs import get_logger
from fraudstream.settings import Settings

log = get_logger("local.jars")

KAFKA_VERSION = "4.3.1"
SCALA = "2.13"
"""The only Scala of Kafka 4 and Spark 4."""
_LOG4J_VERSION = "2.25.4"
"""Version of the log4j that Kafka 4.3.1 depends on; its distribution adds this binding, its POM does not, and without
it the broker logs nothing."""
_INSIDE_PYSPARK = (
    "org.apache.hadoop",
    "org.scala-lang",
    "org.scala-lang.modules",
    "org.slf4j",
    "org.xerial.snappy",
    "at.yawk.lz4",
    "com.google.code.findbugs",
)
"""Dependencies of the connector that PySpark already has: a second copy would shadow the first."""
_INSIDE_PYSPARK_MODULES = ("spark-tags_2.13",)
SIGNS = ":,#?*[]{}"
"""What separates two jars in lists of Java and Spark, or is part of a URL or a pattern there; nothing escapes it."""
_FETCH_SECONDS = 900.0
"""44 MB take 35 s on a good connection; this allows for 50 kB/s."""


@dataclass(frozen=True, slots=True)
class JarSet:
    """Jars that belong together; `name` is also their directory in the cache."""

    name: str
    title: str
    modules: tuple[tuple[str, str, str], ...]
    """(organisation, module, revision) of the requested modules; the rest follows from their POMs."""
    exclude_organisations: tuple[str, ...] = ()
    exclude_modules: tuple[str, ...] = ()

    @property
    def pins(self) -> Mapping[str, str]:
        """sha256 by file name; empty for a version that this release of fraudstream does not know."""
        return _pins().get(self.name, {})


@cache
def _pins() -> dict[str, dict[str, str]]:
    text = resources.files("fraudstream.local").joinpath("jars.json").read_text(encoding="utf-8")
    pins: dict[str, dict[str, str]] = json.loads(text)
    return pins


def kafka_set() -> JarSet:
    """The broker and all its dependencies."""
    modules = (
        ("org.apache.kafka", f"kafka_{SCALA}", KAFKA_VERSION),
        ("org.apache.logging.log4j", "log4j-slf4j-impl", _LOG4J_VERSION),
    )
    return JarSet(f"kafka-{KAFKA_VERSION}", f"Apache Kafka {KAFKA_VERSION}", modules)


def spark_set() -> JarSet:
    """The four jars in addition to PySpark's own, for the installed version of PySpark."""
    version = metadata.version("pyspark")
    modules = (("org.apache.spark", f"spark-sql-kafka-0-10_{SCALA}", version),)
    return JarSet(
        f"spark-{version}",
        f"the Kafka connector of Spark {version}",
        modules,
        _INSIDE_PYSPARK,
        _INSIDE_PYSPARK_MODULES,
    )


def kafka_jars(settings: Settings) -> list[Path]:
    """Paths of the broker's jars, fetched if they are missing. Raises JarsMissing, JavaMissing."""
    return ensure(kafka_set(), settings)


def spark_jars(settings: Settings) -> list[Path]:
    """Paths of Spark's Kafka connector, fetched if they are missing. Raises JarsMissing, JavaMissing."""
    return ensure(spark_set(), settings)


def are_cached(settings: Settings) -> bool:
    """Whether both sets are cached as published, so that nothing has to be fetched."""
    cache = settings.jar_cache
    return all(complaint(wanted, cache / wanted.name) is None for wanted in (kafka_set(), spark_set()))


def ensure(wanted: JarSet, settings: Settings) -> list[Path]:
    """The jars of a set from the cache, or from the repository if they are missing or corrupted there. Raises ServiceError."""
    directory = settings.jar_cache / wanted.name
    require_plain(directory.parent)
    if complaint(wanted, directory) is not None:
        try:
            _renew(wanted, directory, settings.ivy_settings)
        except OSError as error:
            raise ServiceError(
                f"The jar cache {directory.parent} cannot be used: {error.strerror or error}.",
                hint="Set FRAUDSTREAM_JARS to a directory that you may write, on a disk with space.",
            ) from None
    return sorted(directory.glob("*.jar"))


def require_plain(cache: Path) -> None:
    """Raise ServiceError for a path that Java's or Spark's list of jars cannot contain."""
    if found := next((sign for sign in str(cache) if sign in SIGNS), None):
        raise ServiceError(
            f"The path of the jar cache, {cache}, contains {found!r}, which Java or Spark would not read as part of it.",
            hint=f"Set FRAUDSTREAM_JARS to a directory without any of {' '.join(SIGNS)} in its path.",
        )


def _renew(wanted: JarSet, directory: Path, ivy_settings: Path | None) -> None:
    """Fetch the jars unless another process has done so meanwhile."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = directory.parent / f".{wanted.name}.lock"
    lock.touch(0o600)  # the lock's own error is about FRAUDSTREAM_HOME
    with file_lock(lock, f"the jars in {directory}"):
        spoilt = complaint(wanted, directory)
        if spoilt is not None:
            if directory.exists():
                log.warning("%s Fetching the jars again.", spoilt)
            for left in directory.parent.glob(f".{wanted.name}-*"):  # by a command that was killed
                shutil.rmtree(left, ignore_errors=True)
            _fetch(wanted, directory, ivy_settings)


def complaint(wanted: JarSet, directory: Path) -> str | None:
    """What is wrong with the cached jars, in a sentence; None if all are there with their pinned checksums."""
    try:
        present = {path.name: path for path in directory.iterdir() if path.suffix == ".jar"}
    except (FileNotFoundError, NotADirectoryError):
        return f"{directory} does not exist."
    except OSError as error:
        return f"{directory} cannot be read: {error.strerror}."
    expected = wanted.pins or _recorded(directory)
    if not expected or present.keys() != expected.keys():
        return f"{directory} does not contain exactly the jars that belong there."
    for name, path in sorted(present.items()):
        try:
            if _sha256(path) != expected[name]:
                return f"{path} is not the published file: its sha256 differs."
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}."
    return None


def _recorded(directory: Path) -> dict[str, str]:
    """The checksums recorded when a set without pins was fetched: they detect damage, not forgery."""
    try:
        sums: dict[str, str] = json.loads((directory / "sha256.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return sums


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(wanted: JarSet, directory: Path, ivy_settings: Path | None) -> None:
    """Fetch into a sibling directory, verify, then move it into place, so that a partial set is never used."""
    log.info("Fetching %s into %s (once).", wanted.title, directory)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{wanted.name}-") as scratch:
        fresh = Path(scratch) / "jars"
        _ivy(wanted, Path(scratch), fresh, ivy_settings)
        if not wanted.pins:
            log.warning("%s has no pinned checksums in this release; trusting the repository.", wanted.title)
            sums = {path.name: _sha256(path) for path in fresh.glob("*.jar")}
            (fresh / "sha256.json").write_text(json.dumps(sums), encoding="utf-8")
        wrong = complaint(wanted, fresh)
        if wrong is not None:
            raise JarsMissing(
                f"The jars that the repository sent for {wanted.title} differ from the published ones.",
                hint=f"Something between here and Maven Central alters them. {wrong}",
            )
        if directory.exists():
            shutil.move(directory, Path(scratch) / "spoilt")
        fresh.rename(directory)


def _ivy(wanted: JarSet, scratch: Path, into: Path, ivy_settings: Path | None) -> None:
    """Run Ivy; everything that it writes stays in `scratch`."""
    (scratch / "ivy.xml").write_text(_ivy_file(wanted), encoding="utf-8")
    # In a file, as every user of this machine can read a proxy's password on a command line.
    (scratch / "java.options").write_text("\n".join(map(quoted, proxy.java_options())), encoding="utf-8")
    command = [str(find_java().binary), f"@{scratch / 'java.options'}"]
    command += [f"-Divy.default.ivy.user.dir={scratch / 'ivy'}"]
    # Java waits forever by default; a network that drops packets would look like a slow one.
    command += ["-Dsun.net.client.defaultConnectTimeout=15000", "-Dsun.net.client.defaultReadTimeout=60000"]
    command += ["-jar", str(_ivy_jar())]
    if ivy_settings is not None:
        command += ["-settings", str(ivy_settings)]
    command += ["-cache", str(scratch / "cache"), "-ivy", str(scratch / "ivy.xml"), "-confs", "default"]
    command += ["-retrieve", f"{into}/[artifact]-[revision].[ext]"]
    try:
        done = subprocess.run(
            command,
            # In another locale Java may not find the cache below a name such as José.
            env=os.environ | {"LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _missing(wanted, f"no answer within {_FETCH_SECONDS:g} s") from None
    if done.returncode != 0 or not into.is_dir():
        raise _missing(wanted, _reason(done.stdout + done.stderr))


def _missing(wanted: JarSet, reason: str) -> JarsMissing:
    return JarsMissing(
        f"The jars of {wanted.title} are not cached and could not be fetched: {reason}.",
        hint=(
            "Run `fraudstream jars fetch` where Maven Central is reachable, or copy a filled"
            " cache from another machine and set FRAUDSTREAM_JARS to it; FRAUDSTREAM_IVY_SETTINGS names an"
            " ivysettings.xml with a mirror, HTTPS_PROXY a proxy (with a login: http://USER:PASSWORD@HOST:PORT)."
        ),
    )


def _reason(output: str) -> str:
    """The line of Ivy's report that says why."""
    lines = [line.strip(" \t:") for line in output.splitlines() if line.strip(" \t:")]
    for mark in (
        "No space left on device",
        "Host ",
        "Server access error",
        "timed out",
        "FAILED",
        ": not found",
    ):
        for line in lines:
            if mark in line:
                # Ivy says "not found" even if the repository did not answer at all.
                return line[:300] + (", or its repository does not answer" if mark == ": not found" else "")
    return lines[-1][:300] if lines else "Ivy said nothing"


def _ivy_file(wanted: JarSet) -> str:
    asked = "".join(
        f"<dependency org={quoteattr(organisation)} name={quoteattr(module)} rev={quoteattr(revision)}"
        ' conf="default->default"/>'
        for organisation, module, revision in wanted.modules
    )
    left_out = [f"<exclude org={quoteattr(name)}/>" for name in wanted.exclude_organisations]
    left_out += [f"<exclude module={quoteattr(name)}/>" for name in wanted.exclude_modules]
    return (
        '<ivy-module version="2.0"><info organisation="fraudstream" module="jars"/>'
        '<configurations><conf name="default"/></configurations>'
        f"<dependencies>{asked}{''.join(left_out)}</dependencies></ivy-module>"
    )


def _ivy_jar() -> Path:
    """Ivy inside PySpark, found without importing PySpark."""
    # Not from the list of installed files: pip 23.0 of Debian 12 writes none for what it builds without `wheel`.
    package = importlib.util.find_spec("pyspark")
    for directory in (package and package.submodule_search_locations) or ():
        for found in Path(directory, "jars").glob("ivy-*.jar"):
            return found
    raise JarsMissing(
        "The installed PySpark lacks Ivy (pyspark/jars/ivy-*.jar).",
        hint="Install PySpark from its wheel: `pip install --force-reinstall 'pyspark==4.2.0'`.",
    )
