"""What lies where in FRAUDSTREAM_HOME, who may touch it, and the ports that it remembers."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fraudstream.errors import ServiceError
from fraudstream.logs import get_logger
from fraudstream.settings import ENDPOINTS, Settings

log = get_logger("local.home")

LOCK_SECONDS = 300.0
"""How long a command waits for another one: the longest honest wait is a first `up` that fetches the jars."""

MARK = ".fraudstream"
"""Lies in each directory that we made: `reset` deletes it whole."""
_WRITTEN: Mapping[str, tuple[str, ...]] = {
    "kafka": ("data", "data.new*", "server.properties", "log4j2.properties"),
    "postgres": ("data", "data.new*"),
    "logs": ("kafka.log*", "kafka.out*.log", "postgres*.log", "spark-*.log"),
}
"""What we write into each directory: all that `reset` deletes where somebody else made it, or an older fraudstream."""

LAST_PORT = 65_535
"""A number beyond it in a spoilt file would make the system's own calls fail."""


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of one pair of embedded services. Everything but the jars lies below `root`."""

    root: Path

    @classmethod
    def of(cls, settings: Settings) -> "Home":
        """The home that the settings name."""
        return cls(settings.home)

    @property
    def endpoints(self) -> Path:
        """Where `up` leaves the addresses."""
        return self.root / ENDPOINTS

    @property
    def logs(self) -> Path:
        """What the services write about themselves."""
        return self.root / "logs"

    @property
    def kafka(self) -> Path:
        """The broker's data and files; also its working directory."""
        return self.root / "kafka"

    @property
    def postgres(self) -> Path:
        """Where PostgreSQL's data is, unless its user cannot reach this."""
        return self.root / "postgres"

    @property
    def password(self) -> Path:
        """The password of PostgreSQL's user `fraudstream`, mode 0600."""
        return self.root / "postgres.password"

    def state(self, service: str) -> Path:
        """The ports and places of a service."""
        return self.root / f"{service}.json"

    def pid(self, service: str) -> Path:
        """Which process serves."""
        return self.root / f"{service}.pid"

    @property
    def key(self) -> str:
        """A short name of this home, for what must lie outside of it."""
        return hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]

    def prepare(self) -> None:
        """Make the directories. Raises ServiceError where that is not allowed."""
        try:
            # Others may pass through, not look: PostgreSQL runs under another user when we are root.
            self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
            make(self.logs)
            make(self.kafka)
        except OSError as error:
            raise unusable(self.root, error) from None

    def owns(self, service: str) -> bool:
        """Whether the data of a service are ours: we made their directory, or a server of ours was started on them."""
        return (self.root / service / MARK).exists() or self.state(service).exists()

    def require_own(self, service: str, data: Path) -> None:
        """Raise ServiceError where `data` lay there before we came."""
        if data.exists() and not self.owns(service):
            raise ServiceError(
                f"{data} was not made by fraudstream.",
                hint="Set FRAUDSTREAM_HOME to a directory of your own, or move that one away.",
            )

    def remove(self, name: str) -> None:
        """Delete a directory that we made; of one that somebody else made, what we wrote into it. Raises OSError."""
        directory = self.root / name
        if (directory / MARK).exists():
            shutil.rmtree(directory)
            return
        if name == self.logs.name or self.owns(name):
            for path in [path for pattern in _WRITTEN[name] for path in directory.glob(pattern)]:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            with suppress(OSError):  # something of somebody else's lies there
                directory.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one command at a time change the services of this home. Raises ServiceError after LOCK_SECONDS."""
        self.prepare()
        with file_lock(self.root / "lock", f"the services in {self.root}"):
            yield

    def remembered(self, service: str) -> dict[str, Any]:
        """What `remember` kept of a service; nothing where it never ran or the file is spoilt."""
        try:
            state = json.loads(self.state(service).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # Only preferences stand here; without them ports are chosen anew.
            return {}
        if not isinstance(state, dict):
            return {}
        return {name: value for name, value in state.items() if _possible(name, value)}

    def remember(self, service: str, **values: object) -> None:
        """Keep ports and places, so that a restart has the same addresses."""
        write_private(self.state(service), json.dumps(self.remembered(service) | values))


def make(directory: Path) -> None:
    """Make a directory that only we may read, and mark it as ours; one that is there stays what it is. Raises OSError."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        if not directory.is_dir():
            raise
    else:
        text = "fraudstream made this directory, and `fraudstream reset` deletes it with all that is in it.\n"
        (directory / MARK).write_text(text, encoding="ascii")


def _possible(name: str, value: object) -> bool:
    """Whether a remembered value is one that we could have written."""
    if name == "outside":
        return isinstance(value, bool)
    return type(value) is int and 0 < value <= LAST_PORT


@contextmanager
def workshop(directory: Path) -> Iterator[Path]:
    """An empty directory inside `directory` to make data in, deleted at the end; move out what is finished.

    Each has a name of its own: what a killed command had begun may go on writing for a moment, and must
    not write into ours. Those that were left behind are deleted.
    """
    for left in directory.glob("data.new*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        place = Path(tempfile.mkdtemp(prefix="data.new-", dir=directory))
    except OSError as error:
        raise unusable(directory, error) from None
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def unusable(path: Path, error: OSError) -> ServiceError:
    """The sentence for a directory that cannot be made or written."""
    return ServiceError(
        f"{path} cannot be used: {error.strerror or error}.",
        hint="Set FRAUDSTREAM_HOME to a directory of your own, on a disk with space.",
    )


def write_private(path: Path, text: str) -> None:
    """Write a file that only we may read, at once or not at all. Raises ServiceError."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    except OSError as error:
        raise unusable(path, error) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise unusable(path, error) from None


@contextmanager
def file_lock(path: Path, what: str, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock file `path`; the kernel lets go of it when this process ends, however it ends."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(path, error) from None
    try:
        deadline, said = time.monotonic() + seconds, False
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"Another command has held {what} for {seconds:g} s.",
                    hint=f"Wait for it, or end it: `fuser {path}` names its process.",
                )
            if not said:
                log.info("Waiting for another command that is using %s.", what)
                said = True
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
