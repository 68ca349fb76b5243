"""Keeps a rate: each message at its due time, catching up gently after a stall, never in a burst."""

import math
import threading
import time
from collections.abc import Callable, Iterator

FASTEST = math.inf
"""The rate of `--rate max`."""
TICK = 0.002
"""Minimum seconds between two wake-ups: the system's timer is accurate to about 0.1 ms, and at 10,000 messages a
second twenty at a time is smooth enough for any reader that works in milliseconds."""
CATCH_UP = 1.25
"""After a stall the rate is at most this multiple of the requested one."""
FORGIVEN = 10.0
"""Seconds of backlog that are caught up. A laptop that slept all night must not replay the whole night."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Counts the time asleep, which `time.monotonic` leaves out: the first on Linux, the second on macOS."""


def elapsing() -> float:
    """Seconds since some point in time, including those the machine was asleep."""
    return time.clock_gettime(_CLOCK)


class Pace:
    """Computes when the next messages are due. `clock` (seconds) and `wait` are the system's, except in tests."""

    def __init__(
        self,
        rate: float,
        stop: threading.Event,
        clock: Callable[[], float] = elapsing,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.rate = rate
        self._stop, self._clock, self._wait = stop, clock, wait or stop.wait
        self._begun: float | None = None
        self._wake = -math.inf
        """When to look again, on the clock. Waited for before messages, not after them: the last one ends the run."""
        self._done = 0
        self.forgiven = 0.0
        """Seconds by which the schedule has been shifted so far."""
        # Whole messages first, then their time: a quota rounded down would fall below the rate.
        self._quota = max(1, math.ceil(TICK * rate * CATCH_UP - 1e-9))
        self._spacing = self._quota / (rate * CATCH_UP)

    def portions(self, count: int) -> Iterator[tuple[int, int]]:
        """Bounds of the messages that are due now, of `count`; sleeps in between. Ends early on `stop`."""
        sent = 0
        while sent < count:
            self._wait(max(self._wake - self._clock(), 0.0))
            if self._stop.is_set():
                return
            now = self._clock()
            if self._begun is None:
                self._begun = now
            due = self._due(now)
            portion = min(due, self._quota, count - sent)
            if portion:
                yield sent, sent + portion
                if not self._done:  # the first one establishes the connection, which is not backlog
                    self._begun = now = self._clock()
                sent += portion
                self._done += portion
            # From the wake-up on, not from the end of sending, which takes time itself.
            self._wake = now + self._spacing if due > portion else max(self._next(), now + TICK)

    def _next(self) -> float:
        """When the next message is due, on the clock."""
        assert self._begun is not None  # noqa: S101 - portions() has set it
        return self._begun + self.forgiven + self._done / self.rate

    def _due(self, now: float) -> int:
        """How many messages should have been sent by now but have not been."""
        late = now - self._next()
        if late > FORGIVEN:
            self.forgiven += late - FORGIVEN
            late = FORGIVEN
        # The first of them is due at `late == 0`; the summand compensates for rounding errors.
        return max(math.floor(late * self.rate + 1 + 1e-6), 0)
