"""The layout of FRAUDSTREAM_HOME, who may change it, and the ports that it remembers."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fraudstream.errors import ServiceError
from fraudstream.logs import get_logger
from fraudstream.settings import ENDPOINTS, Settings

log = get_logger("local.home")

LOCK_SECONDS = 300.0
"""Seconds that a command waits for another one: the longest legitimate wait is a first `up` that fetches the jars."""

ALONE_SECONDS = 120.0
"""Seconds that a server waits for the previous one on its data: after a kill -9 its children may finish a query."""
MARK = ".fraudstream"
"""Marks each directory that we created: `reset` deletes it completely."""
_WRITTEN: Mapping[str, tuple[str, ...]] = {
    "kafka": ("data", "data.new*", "server.properties", "log4j2.properties"),
    "postgres": ("data", "data.new*"),
    "logs": ("kafka.log*", "kafka.out*.log", "postgres*.log", "spark-*.log"),
}
"""Our files in each directory: all that `reset` deletes from one that we, or an older fraudstream, did not mark."""

_KEY = re.compile("[0-9a-f]{12}")
"""Names of directories outside of homes: with any other, a corrupted file could have `reset` delete something else."""
LAST_PORT = 65_535
"""A larger number in a corrupted file would make system calls fail."""


class LockHeld(ServiceError):
    """Another process holds a lock."""


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of one pair of embedded services. Everything except the jars is below `root`."""

    root: Path

    @classmethod
    def of(cls, settings: Settings) -> "Home":
        """The home that the settings name."""
        return cls(settings.home)

    @property
    def endpoints(self) -> Path:
        """The file in which `up` stores the addresses."""
        return self.root / ENDPOINTS

    @property
    def logs(self) -> Path:
        """The directory of the services' logs."""
        return self.root / "logs"

    @property
    def kafka(self) -> Path:
        """The broker's data and files; also its working directory."""
        return self.root / "kafka"

    @property
    def postgres(self) -> Path:
        """The directory of PostgreSQL's data, unless its user cannot access it."""
        return self.root / "postgres"

    @property
    def password(self) -> Path:
        """The password of PostgreSQL's user `fraudstream`, mode 0600."""
        return self.root / "postgres.password"

    def state(self, service: str) -> Path:
        """The file with the ports and directories of a service."""
        return self.root / f"{service}.json"

    def pid(self, service: str) -> Path:
        """The file with the process of a service."""
        return self.root / f"{service}.pid"

    def running(self, name: str) -> Path:
        """The file that a service, or the demo, keeps locked as long as it runs."""
        return self.root / f"{name}.running"

    @property
    def key(self) -> str:
        """A short name of this home, for files that must be outside of it."""
        return hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]

    def exists(self) -> bool:
        """Whether there is such a directory. Raises ServiceError if we may not look."""
        try:
            self.root.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise unusable(self.root, error) from None
        return True

    def prepare(self) -> None:
        """Create the directories. Raises ServiceError if that is not allowed."""
        self.prepare_logs()
        try:
            make(self.kafka)
        except OSError as error:
            raise unusable(self.root, error) from None

    def prepare_logs(self) -> None:
        """Create the directory of logs, which contain data and statements: for nobody but us. Raises ServiceError."""
        try:
            # Others may traverse but not list it: if we are root, PostgreSQL runs as another user.
            self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
            make(self.logs)
        except OSError as error:
            raise unusable(self.root, error) from None

    def owns(self, service: str) -> bool:
        """Whether a service's data is ours: we created its directory, or started a server on it."""
        return (self.root / service / MARK).exists() or self.state(service).exists()

    def require_own(self, service: str, data: Path) -> None:
        """Raise ServiceError if `data` is not ours."""
        if data.exists() and not self.owns(service):
            raise ServiceError(
                f"{data} was not created by fraudstream.",
                hint="Set FRAUDSTREAM_HOME to a directory of your own, or move that one away.",
            )

    def remove(self, name: str) -> None:
        """Delete a directory that we created, or our files in one that we did not. Raises OSError."""
        directory = self.root / name
        if (directory / MARK).exists():
            delete(directory)
            return
        if name == self.logs.name or self.owns(name):
            for path in [path for pattern in _WRITTEN[name] for path in directory.glob(pattern)]:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            with suppress(OSError):  # it has other files as well
                directory.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one command at a time change the services of this home. Raises ServiceError after LOCK_SECONDS."""
        self.prepare()
        with file_lock(self.root / "lock", f"the services in {self.root}"):
            yield

    @contextmanager
    def alone(self, service: str) -> Iterator[int]:
        """A descriptor of a locked file: a server that inherits it keeps the lock. Raises ServiceError if another one has it.

        That one is out of sight: on another machine that has this directory, too, or in a container. Two servers on the
        same data destroy it.
        """
        held = ServiceError(
            f"A server that this machine does not see uses the data of {service} in {self.root}.",
            hint="Stop it where it runs, on another machine or in a container with the same directory, or set"
            " FRAUDSTREAM_HOME to a directory of your own.",
        )
        with sole(self.running(service), f"the data of {service}", held, ALONE_SECONDS) as lock:
            yield lock

    def remembered(self, service: str) -> dict[str, Any]:
        """What `remember` stored for a service; nothing if it never ran or the file is corrupted."""
        try:
            state = json.loads(self.state(service).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # These are only preferences; without them new ports are chosen.
            return {}
        if not isinstance(state, dict):
            return {}
        return {name: value for name, value in state.items() if _possible(name, value)}

    def remember(self, service: str, **values: object) -> None:
        """Store ports and directories, so that a restart has the same addresses, and which process has answered."""
        write_private(self.state(service), json.dumps(self.remembered(service) | values))


def make(directory: Path) -> None:
    """Create a directory that only we may read, and mark it as ours; an existing one is unchanged. Raises OSError."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        if not directory.is_dir():
            raise
    else:
        text = (
            "fraudstream created this directory, and `fraudstream reset` deletes it with everything in it.\n"
        )
        (directory / MARK).write_text(text, encoding="ascii")


def delete(directory: Path) -> None:
    """Delete a directory; a link in its place too, with what it points to if that has our mark. Raises OSError."""
    if directory.is_symlink() and (directory / MARK).exists():
        shutil.rmtree(directory.resolve())
        directory.unlink()
    else:
        shutil.rmtree(directory)  # refuses a link, whose target might be anything


def _possible(name: str, value: object) -> bool:
    """Whether a remembered value is one that we could have written."""
    if name == "outside":
        return isinstance(value, bool)
    if name == "answered":
        return isinstance(value, str)
    if name == "key":
        return isinstance(value, str) and _KEY.fullmatch(value) is not None
    return type(value) is int and 0 < value <= LAST_PORT


@contextmanager
def workshop(directory: Path) -> Iterator[Path]:
    """An empty directory inside `directory` for creating data, deleted at the end; move out what is finished.

    Each has a unique name: a child of a killed command may continue to write for a moment, and must
    not write into ours. Leftover ones are deleted.
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
    """The error for a directory that cannot be created or written."""
    return ServiceError(
        f"{path} cannot be used: {error.strerror or error}.",
        hint="Set FRAUDSTREAM_HOME to a directory of your own, on a disk with space.",
    )


def existing(directory: Path) -> Path:
    """The directory itself, or the nearest one above that exists."""
    return next(path for path in (directory, *directory.parents) if path.exists())


def require_access(directory: Path, mode: int) -> None:
    """Raise ServiceError unless we have this access (`os.W_OK`, …) to a directory, or to where it will be."""
    if not os.access(existing(directory), mode):
        raise unusable(directory, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def write_private(path: Path, text: str) -> None:
    """Write a file that only we may read, atomically. Raises ServiceError."""
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
def file_lock(path: Path, what: str, seconds: float = LOCK_SECONDS) -> Iterator[int]:
    """Hold the lock file `path`; the kernel releases it when this process ends, however it ends."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(path, error) from None
    try:
        deadline, said = time.monotonic() + seconds, False
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise LockHeld(
                    f"Another command has held {what} for {seconds:g} s.",
                    hint=f"Wait for it, or end it: `fuser {path}` names its process.",
                )
            if not said:
                log.info("Waiting for another process that is using %s.", what)
                said = True
            time.sleep(0.05)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def sole(path: Path, what: str, held: ServiceError, seconds: float) -> Iterator[int]:
    """Hold the lock file `path` as long as something runs that must run once; raises `held` if another process has it."""
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(file_lock(path, what, seconds))
        except LockHeld:
            raise held from None
        yield lock


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
