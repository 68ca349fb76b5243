"""Waiting for what another process or thread does."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

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


@contextlib.contextmanager
def running(
    stream: Callable[[threading.Event], T], well: Callable[[], bool]
) -> Iterator[tuple[Future[T], threading.Event]]:
    """A stream that is `well`, in a thread of its own, and the event that stops it, which is set at the end."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(stream, stop)
        try:
            wait_until(lambda: begun.done() or well(), "stream that runs")
            assert not begun.done(), begun.exception()
            yield begun, stop
        finally:
            stop.set()
