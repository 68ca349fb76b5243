"""Waiting for what another process does."""

import time
from collections.abc import Callable
from pathlib import Path

HANG_SECONDS = 300.0
"""A deadline for a busy machine; nothing waits for it when all is well."""


def wait_until(
    true: Callable[[], bool], what: str, log: Path | None = None, *, seconds: float = HANG_SECONDS
) -> None:
    """Poll until `true()`; a deadline that only a hang meets, not a pause. What `log` says goes into the failure.

    A command that ended with an error has printed it beside its log, where it was asked for documents.
    """
    deadline = time.monotonic() + seconds
    while not true():
        printed = log.with_suffix(".json") if log else None
        said = printed.read_text() if printed and printed.is_file() else ""
        told = f"{said}{log.read_text() if log else ''}"
        assert '"error"' not in said, f"no {what} any more: {told}"
        assert time.monotonic() < deadline, f"still no {what} after {seconds:g} s: {told}"
        time.sleep(0.05)
