"""The first job of a session, which waits until the cluster has a free task slot: logs the wait, and can be cancelled."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

from fraudstream.logs import get_logger

log = get_logger("spark")

POLL_SECONDS: Final = 0.1
PATIENCE_SECONDS: Final = 60.0
"""Seconds before the wait is logged: a first job takes a few, on an overloaded machine half a minute."""


def run_first_job(
    job: Callable[[], None],
    cancel: Callable[[], None],
    stop: threading.Event,
    patience_seconds: float = PATIENCE_SECONDS,
) -> None:
    """Run a job to its end, or until `stop` is set, and then `cancel` it. Raises what the job raises.

    It runs in a thread of its own: a blocking call into Spark cannot wait for an event, and the command could only be killed.
    """
    began, told = time.monotonic(), False
    with ThreadPoolExecutor(1, "first job") as pool:
        running = pool.submit(job)
        while not wait([running], POLL_SECONDS).done:
            if stop.is_set():
                cancel()  # repeatedly: the job may not have reached Spark the first time
            elif not told and time.monotonic() - began > patience_seconds:
                told = True
                log.warning(
                    "Spark's first job has not ended after %.0f s: the machine is overloaded, or the cluster has no free cores"
                    " or no workers; add some, or limit other commands (FRAUDSTREAM_SPARK__CORES_MAX).",
                    time.monotonic() - began,
                )
    if not stop.is_set():
        running.result()
