"""The stream of transactions: history at the population's own pace, or a steady rate at given instants.

Made in blocks whose size depends on nothing outside, each from a generator of its own: how a caller cuts the
stream does not change it.
"""

import math
from collections.abc import Iterator

import numpy as np

from fraudstream.simulate.events import DAY, EVENT, HOUR, Events, Ints
from fraudstream.simulate.fraud import Fraud
from fraudstream.simulate.rhythm import hour_of_week
from fraudstream.simulate.scenarios import DEFAULT_FRAUD_RATE, LONGEST_EPISODE_SECONDS
from fraudstream.simulate.world import World

MOST_OPEN = 200_000
"""Most transactions between the ends of an episode. A stream that is denser has shorter gaps inside its
episodes: at a thousand times the pace of life a customer's day lasts a minute, and a burst must still be
one. It also bounds what is kept in memory."""
BLOCK = 8_192
"""Transactions of a steady block at most: enough to make numpy's calls cheap, few enough for the cache."""


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
        # SeedSequence takes no negative numbers; instants before 1970 have some.
        return np.random.default_rng([self.world.seed, self.start % 2**64, self._blocks])

    def history(self, days: float) -> Iterator[Events]:
        """A day at a time at the population's own pace; `days` may be infinite."""
        end = self.start + round(days * DAY) if math.isfinite(days) else None
        begin = self.start
        while end is None or begin < end:
            upto = begin + DAY if end is None else min(begin + DAY, end)
            rng = self._generator()
            self._begin(rng, begin, self.world.natural_rate())
            base = self.world.ordinary(rng, self._natural(rng, begin, upto))
            yield self._mixed(rng, base, upto)
            begin = upto

    def _natural(self, rng: np.random.Generator, begin: int, upto: int) -> Ints:
        """Instants of the purchases in [begin, upto): a Poisson process whose rate changes with the hour."""
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

    def steady(self, slots: Ints, rate: float) -> Events:
        """Exactly one transaction for each of these instants (microseconds, not decreasing), `rate` a second.

        Episodes take slots like everything else: what is due takes the next one.
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
        # Honest transactions beyond the last slot never happen, nor do the episodes that follow them.
        happened = np.ones(len(events), bool)
        happened[:count] = False
        happened[taken] = True
        happened[len(events) - len(extra) :] &= happened[follows]
        self._pending = events[rest[happened[rest]]]
        result = events[taken]
        result["at"] = slots
        return result

    def _begin(self, rng: np.random.Generator, at: int, rate: float) -> None:
        """Where the pace changes, let episodes be under way already, as they would have been."""
        if rate == self._rate:
            return
        self._rate = rate
        self._scale = min(1.0, MOST_OPEN / (LONGEST_EPISODE_SECONDS * rate))
        self._pending = _sorted(self._pending, self._fraud.under_way(rng, at, rate, self._scale))


def _sorted(*parts: Events) -> Events:
    events = np.concatenate(parts)
    return events[np.argsort(events["at"], kind="stable")]
