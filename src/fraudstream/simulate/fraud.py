"""Adds fraud to the stream, at a rate and in a mix: single changed purchases, windows of weeks, episodes.

Every column of a fraud is drawn from what honest customers also do (the same cities, shops, devices), so
that no value of a single column gives it away; docs/simulator.md has how well that works.
"""

import math

import numpy as np

from fraudstream.arrays import Floats, Integers
from fraudstream.errors import UsageError
from fraudstream.micros import DAY, SECOND
from fraudstream.simulate.episodes import Episodes, Reach, mean_length, strange_devices
from fraudstream.simulate.events import EVENT, Events, chance
from fraudstream.simulate.scenarios import (
    LONGEST_EPISODE_SECONDS,
    MOST_FRAUD,
    NAMES,
    SCENARIOS,
    Scenario,
    mix,
)
from fraudstream.simulate.world import FAVOURITES, HABIT, World, cents

MOST_LIKELY = 0.9
"""Even in a window some purchases are honest."""


class Fraud:
    """Turns honest transactions into fraud.

    Raises UsageError if the rate is outside 0 to MOST_FRAUD, or the scenario is unknown.
    """

    def __init__(self, world: World, rate: float, only: str | None = None) -> None:
        if not 0 <= rate <= MOST_FRAUD:
            raise UsageError(f"The fraud rate must be from 0 to {MOST_FRAUD:g}.")
        self._world, shares = world, mix(only)
        chosen = [s for s in SCENARIOS if s.name in shares]
        self.base_share = 1 - rate * sum(shares[s.name] for s in chosen if s.shape == "episode")
        """Share of the stream's transactions that are not added by episodes."""
        odds = {s.name: rate * shares[s.name] / self.base_share for s in chosen}
        self._singles = [(s, odds[s.name]) for s in chosen if s.shape == "single"]
        self._windows = [_Window(world, s, odds[s.name]) for s in chosen if s.shape == "window"]
        self._chains = [(s, odds[s.name] / mean_length(s)) for s in chosen if s.shape == "episode"]
        self._episodes = Episodes(world)
        self._far = Reach(world.cities.km, 500.0)

    def convert(self, rng: np.random.Generator, events: Events) -> None:
        """Turn some of these honest transactions into fraud, in place: windows first, then single ones."""
        for window in self._windows:
            rows = window.hits(rng, events)
            _raise(rng, events, rows, window.scenario)
        if not self._singles:
            return
        limits = np.cumsum([odds for _, odds in self._singles])
        which = np.searchsorted(limits, rng.random(len(events)), side="right")
        which[events["scenario"] != 0] = len(limits)
        for number, (scenario, _) in enumerate(self._singles):
            self._single(rng, scenario, events, np.flatnonzero(which == number))

    def _single(self, rng: np.random.Generator, scenario: Scenario, events: Events, rows: Integers) -> None:
        if scenario.name == "high_amount":
            events["scenario"][rows] = NAMES.index(scenario.name) + 1
            low, high = map(math.log, scenario.amount)
            events["cents"][rows] = cents(np.exp(rng.uniform(low, high, len(rows))))
            return
        _raise(rng, events, rows, scenario)
        if scenario.name == "unusual_device":
            events["device"][rows] = strange_devices(rng, len(rows))
            return
        city = self._far.draw(rng, self._world.customers.home[events["user"][rows]])
        online = self._world.merchants.online[events["merchant"][rows]]
        there = self._world.shop_in(city, rng.random(len(rows)))
        events["merchant"][rows] = np.where(online, events["merchant"][rows], there)
        events["city"][rows] = city

    def episodes(self, rng: np.random.Generator, base: Events, scale: float) -> tuple[Events, Integers]:
        """The transactions that episodes add, and the row of `base` that each follows.

        An episode begins at a transaction of its customer, who is active at that time. `scale` shrinks
        the gaps in a stream that is denser than reality (see Stream).
        """
        parts, follows = [np.zeros(0, EVENT)], [np.zeros(0, np.int64)]
        for scenario, odds in self._chains:
            parents = np.flatnonzero(rng.random(len(base)) < odds)
            if len(parents):
                extra, parent = self._episodes.follow(rng, scenario, base[parents], scale)
                parts.append(extra)
                follows.append(parents[parent])
        return np.concatenate(parts), np.concatenate(follows)

    def under_way(self, rng: np.random.Generator, start: int, rate: float, scale: float) -> Events:
        """The transactions after `start` (microseconds) of episodes that began before it, at `rate` a second.

        Without them the first hours of a stream would have too little fraud.
        """
        parts = [np.zeros(0, EVENT)]
        back = LONGEST_EPISODE_SECONDS * scale
        for scenario, odds in self._chains:
            count = rng.poisson(odds * rate * self.base_share * back)
            if count:
                at = np.sort(start - 1 - (rng.random(count) * back * SECOND).astype(np.int64))
                parts.append(self._episodes.follow(rng, scenario, self._world.ordinary(rng, at), scale)[0])
        events = np.concatenate(parts)
        return events[events["at"] >= start]


class _Window:
    """Customers or merchants whose purchases are partly fraud for some weeks, a few at a time.

    They depend only on the seed and the date: a merchant that is compromised today
    still is when the simulator is restarted tomorrow.
    """

    def __init__(self, world: World, scenario: Scenario, odds: float) -> None:
        self.scenario = scenario
        self._field = "merchant" if scenario.name == "compromised_merchant" else "user"
        self._salt = (world.seed, 10 + NAMES.index(scenario.name))
        self._length = int(scenario.days * DAY)
        share = _popularity(world) if self._field == "merchant" else world.customers.activity / world.users
        # The busier half: a window on a customer or merchant without transactions would have no effect.
        self._subjects = np.flatnonzero(share >= np.median(share))
        mean = float(share[self._subjects].mean())
        self._slots = max(1, round(odds / (scenario.intensity * mean))) if odds else 0
        wanted = odds / max(self._slots, 1)
        self._odds = np.minimum(wanted / share.clip(1e-12), MOST_LIKELY)

    def hits(self, rng: np.random.Generator, events: Events) -> Integers:
        """Rows of `events` that this window makes fraud. Events are of at most one day."""
        uniform = rng.random(len(events))
        if not self._slots or not len(events):
            return np.zeros(0, np.int64)
        slot = np.arange(self._slots)
        # Each slot is reassigned on a date of its own.
        turn = (
            int(events["at"][0]) + (chance(*self._salt, slot) * self._length).astype(np.int64)
        ) // self._length
        who = self._subjects[(chance(*self._salt, slot, turn) * len(self._subjects)).astype(np.int64)]
        # Several slots may have the same subject, which then has the fraud of all of them.
        likely = np.minimum(np.bincount(who, self._odds[who], len(self._odds)), MOST_LIKELY)
        return np.flatnonzero((uniform < likely[events[self._field]]) & (events["scenario"] == 0))


def _popularity(world: World) -> Floats:
    """Share of all purchases that each merchant gets from customers who favour it, which is nearly all it gets."""
    visits = np.repeat(world.customers.activity[:, None], FAVOURITES, axis=1) / np.arange(1, FAVOURITES + 1)
    count = np.bincount(
        world.customers.favourites.ravel(), weights=visits.ravel(), minlength=len(world.merchants.city)
    )
    return np.asarray(HABIT * count / count.sum() + (1 - HABIT) / len(count))


def _raise(rng: np.random.Generator, events: Events, rows: Integers, scenario: Scenario) -> None:
    """Label these rows and multiply their amounts."""
    events["scenario"][rows] = NAMES.index(scenario.name) + 1
    events["cents"][rows] = cents(events["cents"][rows] / 100 * rng.uniform(*scenario.amount, len(rows)))
