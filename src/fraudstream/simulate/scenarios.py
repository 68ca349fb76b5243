"""The kinds of fraud: what each one is, in a sentence and in numbers."""

from dataclasses import dataclass
from typing import Literal

from fraudstream.errors import UsageError

DEFAULT_FRAUD_RATE = 0.005
"""Share of all transactions. Public card data lies between 0.2 % and 1 %."""
MOST_FRAUD = 0.5

Shape = Literal["single", "window", "episode"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of fraud.

    `single` changes one honest purchase; `window` changes many purchases of one customer or merchant
    over weeks; `episode` adds a chain of purchases to a customer, minutes apart.
    """

    name: str
    sentence: str
    shape: Shape
    share: float
    """Share of all fraudulent transactions if all scenarios are enabled."""
    amount: tuple[float, float]
    """Amount in the account's currency for high_amount and card_testing; else a multiple of the usual amount."""
    length: tuple[int, int] = (1, 1)
    """Transactions of an episode, from and to."""
    gap_seconds: float = 0.0
    """Mean time between the transactions of an episode (exponential)."""
    days: float = 0.0
    """How long a window stays open."""
    intensity: float = 1.0
    """Approximate share of fraud among the purchases in a window."""


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "high_amount",
        "One purchase of 2,000 to 15,000, whatever the customer usually spends.",
        "single",
        0.10,
        (2_000.0, 15_000.0),
    ),
    Scenario(
        "location_mismatch",
        "One purchase in a city more than 500 km from home, at one to three times the usual amount.",
        "single",
        0.10,
        (1.0, 3.0),
    ),
    Scenario(
        "unusual_device",
        "One purchase with a device picked at random from all known devices, at one to three times the usual amount.",
        "single",
        0.10,
        (1.0, 3.0),
    ),
    Scenario(
        "card_testing",
        "5 to 12 purchases of 0.50 to 4.00 on the web within minutes, from one strange device; "
        "then, half the time, an expensive one.",
        "episode",
        0.15,
        (0.5, 4.0),
        length=(5, 12),
        gap_seconds=30.0,
    ),
    Scenario(
        "velocity_burst",
        "5 to 15 purchases within minutes at shops around the customer, with the customer's own device.",
        "episode",
        0.15,
        (0.7, 2.5),
        length=(5, 15),
        gap_seconds=75.0,
    ),
    Scenario(
        "account_takeover",
        "3 to 8 purchases on the web, about 15 minutes apart, from one new device, mostly far away, "
        "most of them larger than the one before.",
        "episode",
        0.12,
        (1.2, 6.0),
        length=(3, 8),
        gap_seconds=900.0,
    ),
    Scenario(
        "compromised_merchant",
        "For four weeks about half of the cards seen at one merchant are misused there, at one to twice the usual amount.",
        "window",
        0.13,
        (1.0, 2.0),
        days=28.0,
        intensity=0.5,
    ),
    Scenario(
        "slow_burn",
        "For two weeks about half of a customer's purchases are two to five times their usual amount.",
        "window",
        0.10,
        (2.0, 5.0),
        days=14.0,
        intensity=0.5,
    ),
    Scenario(
        "impossible_travel",
        "One or two purchases more than 2,000 km from where the customer paid 5 to 90 minutes ago.",
        "episode",
        0.05,
        (1.0, 3.0),
        length=(1, 2),
        gap_seconds=1_500.0,
    ),
)
NAMES: tuple[str, ...] = tuple(scenario.name for scenario in SCENARIOS)
LONGEST_EPISODE_SECONDS = 3 * 3_600.0
"""Episodes rarely last longer: how far a stream looks back for episodes that are in progress when it begins."""


def mix(only: str | None = None) -> dict[str, float]:
    """Each scenario's share of the fraud: all of them, or one alone.

    Raises UsageError for an unknown scenario.
    """
    if only is None:
        return {scenario.name: scenario.share for scenario in SCENARIOS}
    if only not in NAMES:
        raise UsageError(
            f"There is no scenario {only!r}.",
            hint=f"`fraudstream produce --scenario list` explains them: {', '.join(NAMES)}.",
        )
    return {only: 1.0}
