"""Whether a history fits into memory."""

from pathlib import Path
from typing import Final

from fraudstream.errors import InputError

BYTES_PER_ROW = 2_000
"""Of a transaction with all 47 features, at the peak of a whole training on a labelled file, everything included: 1.5 GB were
measured for 760,000, and 3.1 GB for 1,750,000."""
CGROUPS: Final = Path("/sys/fs/cgroup")
_LAYOUTS: Final = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
"""Where a container finds its limit, its usage, and the part of that which is only cache: in cgroups v2 and v1."""


def available(machine: int, cgroups: Path = CGROUPS) -> int:
    """Bytes that this process may still allocate: the `machine`'s, or fewer if its container has a limit.

    psutil reports the machine's memory, also inside a container, whose limit the kernel enforces by killing.
    """
    return min([machine, *(free for layout in _LAYOUTS if (free := _within(cgroups, *layout)) is not None)])


def _within(cgroups: Path, limit: str, usage: str, statistics: str, cache: str) -> int | None:
    try:
        most, used = (int((cgroups / name).read_text(encoding="ascii")) for name in (limit, usage))
        stat = (cgroups / statistics).read_text(encoding="ascii")
    except (OSError, ValueError):  # no such cgroup, or the limit is `max`
        return None
    reclaimable = sum(int(line.split()[1]) for line in stat.splitlines() if line.split()[0] == cache)
    return max(most - used + reclaimable, 0)


def refuse_too_many(rows: int, free: int, instead: str) -> None:
    """Raise InputError if `rows` transactions need more than `free` bytes: the system would kill the command silently.

    `instead` says how fewer are read.
    """
    if rows * BYTES_PER_ROW > free:
        raise InputError(
            f"About {rows:,} transactions need {rows * BYTES_PER_ROW / 1e9:,.0f} GB of memory, and {free / 1e9:,.1f} GB are free.",
            hint=f"{instead}, or use a machine or container with more memory.",
        )
