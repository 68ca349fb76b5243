"""The demo's customers: weeks of history as fast as it goes, then days that pass in minutes.

A population small enough for a laptop pays a few times an hour; to show a busy stream its clock must run faster.
Every payment keeps its own time, so habits, pace and hours of the live stream are those of the history. Only
what is measured on real clocks (how old a profile is, how long a decision takes) is not sped up.
"""

import itertools
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from fraudstream.producer.delivery import Batch, Report, Sink, deliver
from fraudstream.simulate import DAY, SECOND, Encoder, Stream, World

LIVE_DAYS = 7.0
"""The live stream begins so long ago, so that its clock does not reach the present within an hour."""
BUSY_HOUR = 17
"""Of the day, UTC, at which the live stream begins: until 21 h twice as much is paid as on average, and five times as many
frauds happen as from 5 to 9 h, when most customers sleep. A demo at breakfast shall not be a dull one."""
NEAR = timedelta(days=1)
"""A stream that has come so close to the present begins anew: it must not run into the future."""
TICK = 0.02
"""Seconds between two sends at least: two messages at a hundred a second, smooth for every eye."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many customers there are, and how fast their time passes."""

    seed: int = 42
    users: int = 9_000
    fraud_rate: float = 0.02
    """Four times the simulator's default: somebody who watches for a minute shall see more than one."""
    days: int = 14
    """Of history: enough for a label delay of a week, and windows to judge a model on."""
    rate: float = 12.0
    """Payments a second of the live stream, on average over a day. Times the age of a profile it bounds what pace can be
    seen: at 60 times the pace of life, ten minutes pass in ten seconds."""


class Stage:
    """One run of a crowd, seen from the instant `now`: first all of `history`, then `live`.

    A run that follows another goes on after the latest payment that was `lived` (the first and the latest), so that nobody
    pays for a day twice: with the days that its history lacks, where it was interrupted, else with `live`. Where it would
    come NEAR the present, `live` begins all the same where that of a first run does, LIVE_DAYS ago at BUSY_HOUR.
    """

    def __init__(self, crowd: Crowd, now: datetime, lived: tuple[datetime, datetime] | None = None) -> None:
        self._world = World(crowd.seed, crowd.users)
        self.crowd = crowd
        self.history_days = crowd.days if lived is None else _lacking(crowd, *lived)
        live = _busy(now - timedelta(days=LIVE_DAYS))
        if lived is not None:
            follows = lived[1] + timedelta(days=self.history_days, microseconds=1)
            live = follows if now - follows > NEAR else live
        self._live = round(live.timestamp() * SECOND)
        start = self._live - self.history_days * DAY
        self._days = Stream(self._world, start, crowd.fraud_rate).history(math.inf)
        self._encoder = Encoder(self._world, start)
        self._number = 0
        self.speed = crowd.rate / self._world.natural_rate()
        """Seconds of the customers' time in one of ours."""

    def history(self) -> Iterator[Batch]:
        """The weeks before, a day at a time."""
        for events in itertools.islice(self._days, self.history_days):
            keys, values = self._encoder.encode(events, self._number)
            self._number += len(values)
            yield Batch(keys, values, paced=False)

    def live(self, sink: Sink, stop: threading.Event) -> Report:
        """Send the days that follow, each payment at its time, until `stop` is set."""
        return deliver(self._paced(stop), sink, stop)

    def _paced(self, stop: threading.Event) -> Iterator[Batch]:
        begun = time.monotonic()
        for events in self._days:
            keys, values = self._encoder.encode(events, self._number)
            self._number += len(values)
            due = (events["at"] - self._live) / SECOND / self.speed
            sent = 0
            while sent < len(values):
                ready = int(due.searchsorted(time.monotonic() - begun, side="right"))
                if ready > sent:
                    yield Batch(keys[sent:ready], values[sent:ready], paced=False)
                    sent = ready
                elif stop.wait(max(TICK, due[sent] - (time.monotonic() - begun))):
                    return


def _busy(instant: datetime) -> datetime:
    """The latest BUSY_HOUR that is not after `instant`."""
    hour = instant.replace(hour=BUSY_HOUR, minute=0, second=0, microsecond=0)
    return hour if hour <= instant else hour - timedelta(days=1)


def _lacking(crowd: Crowd, first: datetime, latest: datetime) -> int:
    """The days of history that are still to be lived. History is sent in whole days."""
    return max(crowd.days - round((latest - first) / timedelta(days=1)), 0)
