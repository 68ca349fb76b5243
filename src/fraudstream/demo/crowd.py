"""The demo's customers: weeks of history as fast as possible, then days that pass in minutes.

A population small enough for a laptop pays a few times an hour; to show a busy stream its clock must run faster.
Every payment keeps its own time, so habits, rates and hours of the live stream match the history. Only
what is measured on real clocks (the age of a profile, the latency of a decision) is not sped up.
"""

import itertools
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from fraudstream.logs import get_logger
from fraudstream.micros import DAY, SECOND, micros
from fraudstream.producer.delivery import Batch, Report, Sink, deliver
from fraudstream.simulate import Encoder, Stream, World

log = get_logger("demo")

LIVE_DAYS = 7.0
"""How long ago the live stream starts, so that its clock does not reach the present within an hour."""
BUSY_HOUR = 17
"""Hour of the day, UTC, at which the live stream starts: until 21 h payments are twice the average, and there are five times
as many frauds as from 5 to 9 h, when most customers sleep. So that a demo is lively at any time of day."""
NEAR = timedelta(days=1)
"""A run that would begin this close to the present begins like a first one, as it would end too soon: no payment is dated after
the beginning of its run."""
TICK = 0.02
"""Minimum seconds between two sends: two messages at a hundred a second, which looks smooth."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """The number of customers, and the speed of their time."""

    seed: int = 42
    users: int = 9_000
    fraud_rate: float = 0.02
    """Four times the simulator's default: somebody who watches for a minute should see several."""
    days: int = 14
    """Days of history: enough for a label delay of a week, and windows to evaluate a model on."""
    rate: float = 12.0
    """Payments a second of the live stream, on average over a day. Together with the age of a profile it limits which bursts can
    be seen: at 60 times real time, ten minutes pass in ten seconds."""


class Stage:
    """One run of a crowd as of `now`: first all of `history`, then `live`.

    A later run continues after the latest payment in `lived` (times of the first and the latest), so that no day is
    simulated twice: with the missing days of its history, if that was interrupted, else with `live`. If that would
    start NEAR the present, it starts like that of a first run, LIVE_DAYS ago at BUSY_HOUR.
    """

    def __init__(self, crowd: Crowd, now: datetime, lived: tuple[datetime, datetime] | None = None) -> None:
        self._world = World(crowd.seed, crowd.users)
        self.crowd = crowd
        self.history_days = crowd.days if lived is None else _lacking(crowd, *lived)
        live = _busy(now - timedelta(days=LIVE_DAYS))
        if lived is not None:
            follows = lived[1] + timedelta(days=self.history_days, microseconds=1)
            live = follows if now - follows > NEAR else live
        self._live, self._present = micros(live), micros(now)
        start = self._live - self.history_days * DAY
        self._days = Stream(self._world, start, crowd.fraud_rate).history(math.inf)
        self._encoder = Encoder(self._world, start)
        self._number = 0
        self.speed = crowd.rate / self._world.natural_rate()
        """Seconds of the customers' time per real second."""

    def history(self) -> Iterator[Batch]:
        """The weeks of history, one day at a time."""
        for events in itertools.islice(self._days, self.history_days):
            keys, values = self._encoder.encode(events, self._number)
            self._number += len(values)
            yield Batch(keys, values, paced=False)

    def live(self, sink: Sink, stop: threading.Event) -> Report:
        """Send the following days, each payment at its time, until `stop` is set or they reach the present."""
        return deliver(self._paced(stop), sink, stop)

    def _paced(self, stop: threading.Event) -> Iterator[Batch]:
        begun = time.monotonic()
        for events in self._days:
            keys, values = self._encoder.encode(events, self._number)
            self._number += len(values)
            due = (events["at"] - self._live) / SECOND / self.speed
            sent, past = 0, int(events["at"].searchsorted(self._present))
            while sent < past:
                ready = int(due[:past].searchsorted(time.monotonic() - begun, side="right"))
                if ready > sent:
                    yield Batch(keys[sent:ready], values[sent:ready], paced=False)
                    sent = ready
                elif stop.wait(max(TICK, due[sent] - (time.monotonic() - begun))):
                    return
            if past < len(values):
                log.warning(
                    "the customers' payments have reached the present, so the stream ends: `fraudstream demo` starts again"
                    " a week ago, `fraudstream reset` deletes everything for a new history"
                )
                return


def _busy(instant: datetime) -> datetime:
    """A time in the latest BUSY_HOUR that is not after `instant`, with the same minutes and microseconds.

    The payments and their ids derive from it: at the full hour, all runs of a day would have the same ones, and no
    payment of the second run would count as new.
    """
    busy = instant.replace(hour=BUSY_HOUR)
    return busy if busy <= instant else busy - timedelta(days=1)


def _lacking(crowd: Crowd, first: datetime, latest: datetime) -> int:
    """The number of missing days of history, which is sent in whole days."""
    return max(crowd.days - round((latest - first) / timedelta(days=1)), 0)
