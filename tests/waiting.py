"""Waiting for what another process does."""

import time
from collections.abc import Callable
from pathlib import Path

HANG_SECONDS = 300.0
"""A deadline for a busy machine; nothing waits for it when all is well."""


def wait_until(
    true: Callable[[], bool], what: str, log: Path | None = None, *, seconds: float = HANG_SECONDS
) -> None:
    """Poll until `true()`; a deadline that only a hang meets, not a pause. What `log` says goes into the failure."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, (
            f"still no {what} after {seconds:g} s: {log.read_text() if log else ''}"
        )
        time.sleep(0.05)
