"""Fraud that comes in chains: several transactions of one customer, minutes apart."""

import math
from dataclasses import dataclass

import numpy as np

from fraudstream.arrays import Floats, Integers, Truths
from fraudstream.micros import SECOND
from fraudstream.simulate import places
from fraudstream.simulate.events import EVENT, Events
from fraudstream.simulate.scenarios import NAMES, Scenario
from fraudstream.simulate.world import World, cents

CASHED = 0.5
"""Share of the tested cards that are then used for an expensive purchase."""
FIRST_GAP = (300.0, 5_400.0)
"""Seconds from the customer's own purchase to the one that is too far away to travel to."""
TAKEN_FAR = 0.7
"""Share of the takeovers that come from far away; the others look local."""


def strange_devices(rng: np.random.Generator, count: int) -> Integers:
    """Devices, drawn from those that everybody uses, that are unlikely to be the customer's own."""
    return rng.integers(0, len(places.DEVICES), count)


class Reach:
    """For each city, those at least `least` kilometres away."""

    def __init__(self, km: Floats, least: float) -> None:
        far = km >= least
        self._count = far.sum(axis=1)
        # Far ones first in each row; a row is read up to its count.
        self._cities = np.argsort(~far, axis=1, kind="stable")

    def draw(self, rng: np.random.Generator, city: Integers) -> Integers:
        """One of them for each of these cities."""
        return np.asarray(self._cities[city, (rng.random(len(city)) * self._count[city]).astype(np.int64)])


def mean_length(scenario: Scenario) -> float:
    """Transactions of an episode, on average."""
    return sum(scenario.length) / 2 + (CASHED if scenario.name == "card_testing" else 0.0)


@dataclass(frozen=True, slots=True)
class _Chain:
    """Which episode each transaction belongs to (row of the parents), and its place in it from 0."""

    parent: Integers
    step: Integers
    last: Truths
    """The expensive purchase after the tests of a card."""


class Episodes:
    """Creates the chains of all episodic scenarios."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._beyond = Reach(world.cities.km, 2_000.0)
        self._web = np.flatnonzero(world.merchants.online)

    def follow(
        self, rng: np.random.Generator, scenario: Scenario, parents: Events, scale: float
    ) -> tuple[Events, Integers]:
        """The transactions that follow these honest ones, and the row of `parents` for each.

        `scale` shrinks the gaps.
        """
        chain = _chain(rng, scenario, len(parents))
        events = np.zeros(len(chain.parent), EVENT)
        events["at"] = parents["at"][chain.parent] + _elapsed(rng, scenario, chain, scale)
        self._world.fill(rng, events, parents["user"][chain.parent].astype(np.int64))
        events["scenario"] = NAMES.index(scenario.name) + 1
        getattr(self, f"_{scenario.name}")(rng, scenario, parents, chain, events)
        return events, chain.parent

    def _usual(self, rng: np.random.Generator, events: Events, times: tuple[float, float]) -> Floats:
        """Amounts that are a multiple of what these customers usually pay at these merchants."""
        level = self._world.customers.level[events["user"]] * self._world.merchants.price[events["merchant"]]
        return np.asarray(level * rng.uniform(*times, len(events)))

    def _card_testing(
        self, rng: np.random.Generator, scenario: Scenario, parents: Events, chain: _Chain, events: Events
    ) -> None:
        events["device"] = strange_devices(rng, len(parents))[chain.parent]
        self._on_the_web(rng, events)
        low, high = scenario.amount
        tested = np.exp(rng.uniform(math.log(low), math.log(high), len(events)))
        level = self._world.customers.level[events["user"]]
        events["cents"] = cents(np.where(chain.last, level * rng.uniform(3, 15, len(events)), tested))

    def _velocity_burst(
        self, rng: np.random.Generator, scenario: Scenario, parents: Events, chain: _Chain, events: Events
    ) -> None:
        events["device"] = parents["device"][chain.parent]
        events["city"] = parents["city"][chain.parent]
        events["merchant"] = self._world.shop_in(events["city"], rng.random(len(events)))
        events["cents"] = cents(self._usual(rng, events, scenario.amount))

    def _account_takeover(
        self, rng: np.random.Generator, scenario: Scenario, parents: Events, chain: _Chain, events: Events
    ) -> None:
        far = rng.random(len(parents)) < TAKEN_FAR
        home = self._world.customers.home[parents["user"]]
        city = np.where(far, self._beyond.draw(rng, home), home)
        events["city"] = city[chain.parent]
        events["device"] = strange_devices(rng, len(parents))[chain.parent]
        self._on_the_web(rng, events)
        low, high = scenario.amount
        level = self._world.customers.level[events["user"]]
        growth = low * (high / low) ** (chain.step / 4) * np.exp(0.4 * rng.standard_normal(len(events)))
        events["cents"] = cents(level * growth)

    def _impossible_travel(
        self, rng: np.random.Generator, scenario: Scenario, parents: Events, chain: _Chain, events: Events
    ) -> None:
        city = self._beyond.draw(rng, parents["city"].astype(np.int64))
        events["city"] = city[chain.parent]
        events["merchant"] = self._world.shop_in(events["city"], rng.random(len(events)))
        events["device"] = parents["device"][chain.parent]
        events["cents"] = cents(self._usual(rng, events, scenario.amount))

    def _on_the_web(self, rng: np.random.Generator, events: Events) -> None:
        events["merchant"] = self._web[rng.integers(0, len(self._web), len(events))]


def _chain(rng: np.random.Generator, scenario: Scenario, parents: int) -> _Chain:
    low, high = scenario.length
    tests = rng.integers(low, high + 1, parents)
    length = tests + (rng.random(parents) < CASHED) if scenario.name == "card_testing" else tests
    parent = np.repeat(np.arange(parents), length)
    step = np.arange(len(parent)) - np.repeat(np.cumsum(length) - length, length)
    return _Chain(parent, step, step >= tests[parent])


def _elapsed(rng: np.random.Generator, scenario: Scenario, chain: _Chain, scale: float) -> Integers:
    """Microseconds from the parent to each transaction of its chain; at least one."""
    gaps = rng.exponential(scenario.gap_seconds, len(chain.parent))
    if scenario.name == "impossible_travel":
        gaps = np.where(chain.step == 0, rng.uniform(*FIRST_GAP, len(gaps)), gaps)
    total = np.cumsum(np.maximum(gaps * scale * SECOND, 1).astype(np.int64))
    first = np.flatnonzero(chain.step == 0)
    before = np.where(first > 0, total[first - 1], 0)
    return np.asarray(total - before[chain.parent])
