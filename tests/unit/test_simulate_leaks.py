"""No single column gives the fraud away: what docs/simulator.md promises, measured."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fraudstream.arrays import Truths
from fraudstream.micros import HOUR, SECOND
from fraudstream.simulate import SCENARIOS, Events, Stream, World

ALERTS = 0.01
"""Share of all transactions that a rule may flag."""
ONE_RULE = 0.15
"""Most of the fraud that one threshold, or one value of one column, may reach."""
BEST_VALUES = 0.30
"""Most that the best set of values of one column may reach, chosen with hindsight of every label."""
START = 1_735_689_600 * SECOND


@pytest.fixture(scope="module", params=[42, 1, 2026])
def months(request: pytest.FixtureRequest) -> tuple[World, Events]:
    """60 days of a world of this seed."""
    world = World(request.param)
    return world, np.concatenate(list(Stream(world, START).history(60)))


def columns(world: World, events: Events) -> dict[str, npt.NDArray[Any]]:
    """What a rule could look at, one column each, and the obvious comparison of two."""
    home = world.customers.home[events["user"]]
    return {
        "device": events["device"],
        "merchant": events["merchant"],
        "location": home,
        "transaction_location": events["city"],
        "locations_differ": home != events["city"],
        "hour": events["at"] // HOUR % 24,
        "weekday": (events["at"] // (24 * HOUR) + 3) % 7,
        "cents_part": events["cents"] % 100,
        "is_round": events["cents"] % 1_000 == 0,
    }


def test_no_threshold_on_the_amount_reaches_much(months: tuple[World, Events]) -> None:
    """Neither the dearest nor the cheapest hundredth holds the fraud."""
    _, events = months
    fraud = events["scenario"] > 0
    order = np.argsort(events["cents"], kind="stable")
    alerts = int(len(events) * ALERTS)
    for flagged in (order[-alerts:], order[:alerts]):
        assert fraud[flagged].sum() / fraud.sum() <= ONE_RULE


def test_no_distance_from_home_reaches_much(months: tuple[World, Events]) -> None:
    world, events = months
    fraud = events["scenario"] > 0
    km = world.cities.km[world.customers.home[events["user"]], events["city"]]
    flagged = np.argsort(km, kind="stable")[-int(len(events) * ALERTS) :]
    assert fraud[flagged].sum() / fraud.sum() <= ONE_RULE


def test_no_value_of_a_column_reaches_much(months: tuple[World, Events]) -> None:
    """A value that is more frequent than the alerts allow is flagged at random up to the allowance."""
    world, events = months
    fraud = events["scenario"] > 0
    for name, column in columns(world, events).items():
        reached, _ = _reach(column, fraud)
        assert reached <= ONE_RULE, name


def test_even_the_best_values_of_a_column_leave_most_of_the_fraud(months: tuple[World, Events]) -> None:
    """Merchants of a compromised kind are found in hindsight, and not much else."""
    world, events = months
    fraud = events["scenario"] > 0
    for name, column in columns(world, events).items():
        _, reached = _reach(column, fraud)
        assert reached <= BEST_VALUES, name


def test_the_check_itself_finds_a_leak(months: tuple[World, Events]) -> None:
    """A column that copies the label is caught by both checks."""
    _, events = months
    fraud = events["scenario"] > 0
    assert _reach(fraud.astype(int), fraud) == (1.0, 1.0)


def _reach(column: npt.NDArray[Any], fraud: Truths) -> tuple[float, float]:
    """Share of the fraud in the best single value, and in the best values together, within ALERTS."""
    _, code = np.unique(column, return_inverse=True)
    count, caught = np.bincount(code), np.bincount(code, weights=fraud)
    alerts = len(column) * ALERTS
    one = (caught * np.minimum(1, alerts / count)).max()
    order = np.argsort(-caught / count, kind="stable")
    room = np.clip(alerts - (np.cumsum(count[order]) - count[order]), 0, count[order])
    many = (caught[order] * room / count[order]).sum()
    return float(one / fraud.sum()), float(many / fraud.sum())


def test_the_promise_stands_in_the_documentation() -> None:
    """The page docs/simulator.md states the bounds that are tested here, and every scenario with its share."""
    text = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
    assert f"No single threshold or value reaches more than {ONE_RULE:.0%}".replace("%", " %") in text
    assert f"reaches more than {BEST_VALUES:.0%}".replace("%", " %") in text
    for scenario in SCENARIOS:
        assert f"| `{scenario.name}` | {scenario.share:.0%} |".replace("%", " %") in text
