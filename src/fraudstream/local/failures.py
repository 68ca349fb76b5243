"""Why a service did not start: known errors in its log, as a sentence and a next step."""

import pwd
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from fraudstream.errors import ServiceError
from fraudstream.local.home import existing
from fraudstream.local.processes import as_user, environment
from fraudstream.logs import get_logger

log = get_logger("local.failures")

MEGABYTE = 1_000_000
NEW_BYTES = 200 * MEGABYTE
"""Space for a new data directory: PostgreSQL's 40 MB and its first log segments, Kafka's preallocated indexes."""
OLD_BYTES = 32 * MEGABYTE
"""Space for a start with existing data: one segment of PostgreSQL's log and Kafka's indexes."""


class PortTaken(ServiceError):
    """Another program took the port between our check and the service's start: another port is worth a try."""


class DiskFull(ServiceError):
    """No space for the data."""


def space(directory: Path) -> int:
    """Free bytes where `directory` is, or will be."""
    return shutil.disk_usage(existing(directory)).free


def require_space(directory: Path, wanted: int) -> None:
    """Raise DiskFull unless `wanted` bytes are free where `directory` is or will be."""
    left = space(directory)
    if left < wanted:
        raise disk_full(directory, f"{left // MEGABYTE} MB are free, {wanted // MEGABYTE} MB are needed")


def on_free_port(launch: Callable[[], None]) -> None:
    """Run `launch`, which chooses a port each time; up to two more times if another program was faster."""
    for _ in range(2):
        try:
            return launch()
        except PortTaken as taken:
            log.info("%s Trying another one.", taken.message)
    return launch()


def disk_full(directory: Path, detail: str) -> DiskFull:
    """The error for a disk without space."""
    return DiskFull(
        f"The disk of {directory} is full: {detail}.",
        hint="Make room, or set FRAUDSTREAM_HOME to a directory on another disk.",
    )


def explain(service: str, output: str, path: Path, data: Path) -> ServiceError:
    """The error for a service that ended while starting; `output` is what it wrote since then, `path` its log."""
    lower = output.lower()

    def says(*marks: str) -> bool:
        return any(mark in lower for mark in marks)

    # The free space is checked, too, as a log on the same disk could not even report it.
    if says("no space left on device", "disk quota exceeded") or space(data) < MEGABYTE:
        return disk_full(data, f"{service} could not write its data")
    if says("address already in use"):
        hint = "Run `fraudstream up` again: it chooses another port."
        return PortTaken(f"The port of {service} is already in use.", hint=hint)
    if says("insufficient memory", "cannot allocate memory", "could not map anonymous"):
        hint = "Free about 1 GB of memory and run `fraudstream up` again."
        return ServiceError(f"{service} could not allocate enough memory.", hint=hint)
    if says("permission denied", "has wrong ownership", "accessdenied"):
        hint = "Run the command as the user who created the data, or set FRAUDSTREAM_HOME to a directory of your own."
        return ServiceError(
            f"{service} is not allowed to use its data in {data}: {_last_line(output)}", hint=hint
        )
    return ServiceError(
        f"{service} ended while starting: {_last_line(output)}",
        hint=f"See {path}. If you do not need the data of Kafka and PostgreSQL, `fraudstream reset` deletes all of it; then"
        " start again.",
    )


def run(  # noqa: PLR0913 - what runs, and what an error names
    command: Sequence[str],
    service: str,
    *,
    cwd: Path,
    path: Path,
    data: Path,
    user: pwd.struct_passwd | None = None,
) -> None:
    """Run a tool of a service to its end. Raises ServiceError with the tool's message."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        **as_user(user),
    )
    if done.returncode != 0:
        raise explain(service, done.stdout + done.stderr, path, data)


def no_answer(service: str, seconds: float, path: Path) -> ServiceError:
    """The error for a service that ran, but never answered and was stopped."""
    return ServiceError(
        f"{service} did not answer within {seconds:g} s and was stopped.", hint=f"See {path}."
    )


def _last_line(output: str) -> str:
    """The line that is most likely the reason: the last error, else the last line."""
    lines = [
        line.strip() for line in output.splitlines() if line.strip() and not line.lstrip().startswith("at ")
    ]
    blamed = [
        line
        for line in lines
        if any(mark in line for mark in ("PANIC", "FATAL", "ERROR", "Exception", "Error"))
    ]
    return (blamed or lines or ["it wrote nothing."])[-1][:300]
