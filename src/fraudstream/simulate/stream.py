"""The stream of transactions: history at the population's own rate, or a steady rate at given times.

Created in blocks of a fixed size, each from a generator of its own, so that it does not depend on how a caller divides
the stream.
"""

import math
from collections.abc import Iterator

import numpy as np

from fraudstream.arrays import Integers
from fraudstream.micros import DAY, HOUR
from fraudstream.simulate.events import EVENT, Events
from fraudstream.simulate.fraud import Fraud
from fraudstream.simulate.rhythm import hour_of_week
from fraudstream.simulate.scenarios import DEFAULT_FRAUD_RATE, LONGEST_EPISODE_SECONDS
from fraudstream.simulate.world import World

MOST_OPEN = 200_000
"""Maximum number of the stream's transactions during an episode. In a denser stream the gaps inside episodes are shorter: at
a thousand times the real rate a customer's day lasts a minute, and a burst must remain a burst. It also limits the memory
used."""
BLOCK = 8_192
"""Maximum number of transactions in a steady block: enough to amortise numpy's calls, few enough for the cache."""


class Stream:
    """Transactions of a world from `start` (microseconds since 1970), in order of time."""

    def __init__(
        self,
        world: World,
        start: int,
        fraud_rate: float = DEFAULT_FRAUD_RATE,
        scenario: str | None = None,
    ) -> None:
        self.world, self.start = world, start
        self._fraud = Fraud(world, fraud_rate, scenario)
        self._pending = np.zeros(0, EVENT)
        self._blocks = 0
        self._rate = self._scale = 0.0

    def _generator(self) -> np.random.Generator:
        self._blocks += 1
        # SeedSequence does not accept negative numbers, which times before 1970 have.
        return np.random.default_rng([self.world.seed, self.start % 2**64, self._blocks])

    def history(self, days: float) -> Iterator[Events]:
        """One day at a time at the population's own rate; `days` may be infinite."""
        end = self.start + round(days * DAY) if math.isfinite(days) else None
        begin = self.start
        while end is None or begin < end:
            upto = begin + DAY if end is None else min(begin + DAY, end)
            rng = self._generator()
            self._begin(rng, begin, self.world.natural_rate())
            base = self.world.ordinary(rng, self._natural(rng, begin, upto))
            yield self._mixed(rng, base, upto)
            begin = upto

    def _natural(self, rng: np.random.Generator, begin: int, upto: int) -> Integers:
        """Times of the purchases in [begin, upto): a Poisson process whose rate changes with the hour."""
        edges = np.unique(np.r_[begin, np.arange(begin // HOUR + 1, (upto - 1) // HOUR + 1) * HOUR, upto])
        width = np.diff(edges)
        expected = self.world.hourly[hour_of_week(edges[:-1])] * width / HOUR * self._fraud.base_share
        hour = np.repeat(np.arange(len(width)), rng.poisson(expected))
        return np.sort(edges[hour] + (rng.random(len(hour)) * width[hour]).astype(np.int64))

    def _mixed(self, rng: np.random.Generator, base: Events, upto: int) -> Events:
        self._fraud.convert(rng, base)
        extra, _ = self._fraud.episodes(rng, base, self._scale)
        events = _sorted(base, self._pending, extra)
        due = np.searchsorted(events["at"], upto)
        self._pending = events[due:]
        return events[:due]

    def steady(self, slots: Integers, rate: float) -> Events:
        """Exactly one transaction for each of these times (microseconds, nondecreasing), `rate` a second.

        Transactions of episodes use slots, too: a due one takes the next slot.
        """
        rng = self._generator()
        self._begin(rng, int(slots[0]), rate)
        base = self.world.ordinary(rng, slots)
        self._fraud.convert(rng, base)
        extra, follows = self._fraud.episodes(rng, base, self._scale)
        events = np.concatenate([base, self._pending, extra])
        order = np.argsort(events["at"], kind="stable")
        count = len(slots)
        taken, rest = order[:count], order[count:]
        # Honest transactions after the last slot are dropped, along with the episodes that follow them.
        happened = np.ones(len(events), bool)
        happened[:count] = False
        happened[taken] = True
        happened[len(events) - len(extra) :] &= happened[follows]
        self._pending = events[rest[happened[rest]]]
        result = events[taken]
        result["at"] = slots
        return result

    def _begin(self, rng: np.random.Generator, at: int, rate: float) -> None:
        """At a change of rate, add the episodes that would already be in progress."""
        if rate == self._rate:
            return
        self._rate = rate
        self._scale = min(1.0, MOST_OPEN / (LONGEST_EPISODE_SECONDS * rate))
        self._pending = _sorted(self._pending, self._fraud.under_way(rng, at, rate, self._scale))


def _sorted(*parts: Events) -> Events:
    events = np.concatenate(parts)
    return events[np.argsort(events["at"], kind="stable")]
