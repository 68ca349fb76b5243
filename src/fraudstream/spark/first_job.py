"""The first job of a session, which waits as long as a cluster has no task slot for it: told, and ended when asked."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

from fraudstream.logs import get_logger

log = get_logger("spark")

POLL_SECONDS: Final = 0.1
PATIENCE_SECONDS: Final = 60.0
"""A first job takes seconds, on an overloaded machine half a minute."""


def run_first_job(
    job: Callable[[], None],
    cancel: Callable[[], None],
    stop: threading.Event,
    patience_seconds: float = PATIENCE_SECONDS,
) -> None:
    """Run a job to its end, or until `stop` is set, when `cancel` ends it. Raises what the job raises.

    In a thread of its own: a call that waits for Spark hears no event, and the command could only be killed.
    """
    began, told = time.monotonic(), False
    with ThreadPoolExecutor(1, "first job") as pool:
        running = pool.submit(job)
        while not wait([running], POLL_SECONDS).done:
            if stop.is_set():
                cancel()  # again and again: the job may not have reached Spark the first time
            elif not told and time.monotonic() - began > patience_seconds:
                told = True
                log.warning(
                    "Spark's first job has been waiting for %.0f s. The cluster has no free cores, or no workers: add some,"
                    " or limit other commands (FRAUDSTREAM_SPARK__CORES_MAX).",
                    time.monotonic() - began,
                )
    if not stop.is_set():
        running.result()
