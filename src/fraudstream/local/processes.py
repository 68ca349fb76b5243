"""Background processes: started so that they outlive us, reliably found again, stopped in bounded time."""

import json
import os
import pwd
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TypedDict

import psutil

from fraudstream.errors import ServiceError
from fraudstream.local.home import unusable, write_private
from fraudstream.logs import get_logger

log = get_logger("local.processes")

LOOPBACK = "127.0.0.1"
LOG_BYTES = 10_000_000
"""A log larger than this is rotated when its service starts; one older log is kept."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process, identified reliably: a pid alone may belong to another one after a restart."""

    pid: int
    born: str
    """When it started, as reported by this system; differs between two processes with the same pid."""

    def alive(self) -> bool:
        """Whether it still runs."""
        return born(self.pid) == self.born

    def send(self, number: signal.Signals) -> None:
        """Send a signal; does nothing if the process has already ended."""
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return
            except PermissionError:
                raise ServiceError(
                    f"Process {self.pid} belongs to another user and cannot be stopped.",
                    hint="Run the command as the user who started the services.",
                ) from None

    def wait(self, seconds: float) -> bool:
        """Whether it ended within `seconds`."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def born(pid: int) -> str | None:
    """When the process started, or None if it does not run. A zombie does not count as running.

    On Linux in clock ticks since boot, with the boot's id: unlike the wall clock, these never jump.
    """
    try:
        if Path("/proc/self/stat").exists():
            # The command in brackets may itself contain spaces and brackets, so count from the last one.
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            # A process whose main thread has ended still has its ports and files while other threads run.
            buried = fields[0] == "X" or (fields[0] == "Z" and int(fields[17]) <= 1)
            return None if buried else f"{boot}:{fields[19]}"
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except (OSError, psutil.Error):
        return None


def identify(pid: int) -> Process | None:
    """The process with this pid, or None if it does not run."""
    when = born(pid)
    return Process(pid, when) if when else None


def record(path: Path, process: Process) -> None:
    """Store the process of a service, for later commands."""
    write_private(path, json.dumps(asdict(process)))


def find(path: Path, program: str, argument: str, directory: Path) -> Process | None:
    """The process that `path` names, if it still runs; else a `program` with that argument that works in `directory`.

    The latter finds a service whose pid file was lost or never written, but not one of a container, whose directory of
    the same name is another one.
    """
    try:
        process = Process(**json.loads(path.read_text(encoding="utf-8")))
        if process.alive():
            return process
    except (OSError, ValueError, TypeError):
        pass  # No pid file, or not one of ours: the process table decides.
    for candidate in psutil.process_iter(["cmdline"]):
        command = candidate.info["cmdline"] or []
        if argument in command and Path(command[0]).name == program and _works_in(candidate.pid, directory):
            return identify(candidate.pid)
    return None


def _works_in(pid: int, directory: Path) -> bool:
    """Whether a process works in this directory, or in one that was deleted, as far as we may know."""
    try:
        # Linux resolves it in the container that the process runs in. Other systems have no such file, and no containers.
        found = Path(f"/proc/{pid}/cwd").stat()
    except OSError:
        return True
    try:
        return not found.st_nlink or os.path.samestat(found, directory.stat())
    except OSError:
        return False


def runs_from(directory: Path) -> bool:
    """Whether a process runs a program of `directory`, by its command line: no more can be read of other users' processes."""
    commands = (process.info["cmdline"] for process in psutil.process_iter(["cmdline"]))
    return any(Path(command[0]).is_relative_to(directory) for command in commands if command)


def spawn(
    command: Sequence[str],
    *,
    output: Path,
    cwd: Path,
    user: pwd.struct_passwd | None = None,
    held: int | None = None,
) -> Process:
    """Start a command in a session of its own, with stdout and stderr appended to `output`.

    With a descriptor of a locked file, `held`, the lock lasts as long as the process and its children.

    A shell puts it into the background and exits, so that it is not our child, leaves no zombie when it is
    killed, and is not affected by a closed terminal. Raises ServiceError.
    """
    set_aside(output)
    try:
        with output.open("ab") as log:
            started = subprocess.run(
                ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=cwd,
                env=environment(),
                start_new_session=True,
                check=True,
                text=True,
                pass_fds=() if held is None else (held,),
                **as_user(user),
            )
    except OSError as error:
        raise unusable(output.parent, error) from None
    except subprocess.CalledProcessError as error:
        raise ServiceError(f"{command[0]} could not be started.", hint=f"See {output}.") from error
    pid = int(started.stdout)
    # A process that ended at once no longer has a start time; its log shows why, so leave that to the caller.
    return identify(pid) or Process(pid, "")


def serve(  # noqa: PLR0913 - how to start it
    pid_file: Path,
    command: Sequence[str],
    *,
    output: Path,
    cwd: Path,
    user: pwd.struct_passwd | None = None,
    held: int | None = None,
) -> Process:
    """`spawn`, and store the process in `pid_file`. A process that could not be found again is stopped."""
    process = spawn(command, output=output, cwd=cwd, user=user, held=held)
    try:
        record(pid_file, process)
    except ServiceError:
        process.send(signal.SIGKILL)
        raise
    return process


class Who(TypedDict, total=False):
    """The arguments of `subprocess.run` that set the user."""

    user: int
    group: int
    extra_groups: list[int]


def as_user(user: pwd.struct_passwd | None) -> Who:
    """Run as `user`, without any of our groups; None keeps our user."""
    return Who() if user is None else Who(user=user.pw_uid, group=user.pw_gid, extra_groups=[])


def environment() -> dict[str, str]:
    """The environment of services: without ours, as they outlive us and an environment may contain passwords."""
    # Besides variables for files and time: those by which administrators configure every Java, or preload libraries.
    kept = ("PATH", "HOME", "TMPDIR", "TZ", "JAVA_TOOL_OPTIONS", "LD_PRELOAD")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C.UTF-8"}


def set_aside(path: Path) -> None:
    """Rotate a log that has grown large. Raises ServiceError."""
    if size(path) > LOG_BYTES:
        try:
            path.replace(path.with_suffix(".old.log"))
        except OSError as error:
            raise unusable(path.parent, error) from None


def tail(path: Path, since: int = 0) -> str:
    """The end of a log (64 kB at most), from byte `since` on; empty if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since if since <= size else 0, size - 65_536))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def size(path: Path) -> int:
    """Bytes in a file; 0 if it does not exist. Raises ServiceError."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise unusable(path.parent, error) from None


def free(port: int) -> bool:
    """Whether we could listen on this port of the loopback address.

    SO_REUSEADDR as servers set it: connections that are still closing do not block the port, a listener does.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


ANY = range(20_000, 32_768)
"""Range for new ports: below those that systems use for outgoing connections. Such a connection could occupy the port for
a minute while its service restarts, and the service would have to move."""


def _anywhere() -> Iterator[int]:
    # Shuffled only once the preferred ones turn out to be taken, as that costs ten milliseconds.
    yield from random.sample(ANY, len(ANY))


def choose_port(*preferred: int | None, avoid: int | None = None) -> int:
    """The first preferred port that is free, else any free one; never `avoid`. None means any.

    Raises ServiceError if none is free.
    """
    for port in chain(preferred, _anywhere()):
        if port and port != avoid and free(port):
            return port
    raise ServiceError("No port is free on this machine.", hint="Stop programs that keep many ports open.")


def keep_port(service: str, last: int | None, preferred: int) -> int:
    """The port of the last start if it is still free, else another one, with a warning that the service moves."""
    port = choose_port(last, preferred)
    if last not in (None, port):
        log.warning("Port %s was taken by another program; %s moves to %d.", last, service, port)
    return port
