"""A transaction, as input of the sentences of its alert."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from fraudstream.features.catalogue import HALF_LIVES
from fraudstream.reasons.phrases import money, named, shown

NEVER: Final = 0.01
"""A counter below this counts as empty: with a half-life of 30 days, one event decays to it in 200."""
PRESENT: Final = 0.5
"""A counter below this has no event within its own span: one event decays to it in exactly that time."""
FEW: Final = 5
"""Payments in a month; with fewer a customer or merchant is new."""
YOUNG: Final = 0.5
"""Above this ratio of the 7-day to the 30-day counter a history is too short to tell a usual pace.

At a steady pace since T days ago it is 7/30 · (1 - 2^(-T/7)) / (1 - 2^(-T/30)): 0.89 after 3 days, 0.63 after 14, 0.44 after 30,
0.23 in the end; the rest is left to chance. The 30-day counter, from which the pace is told, holds 1 - 2^(-T/30) of its final
value: 7 % after 3 days, half after 30."""


@dataclass(frozen=True, slots=True)
class Payment:
    """A transaction of an alert: fields, and features by name."""

    amount: float
    features: Mapping[str, float] = field(default_factory=dict)
    device: str | None = None
    location: str | None = None
    transaction_location: str | None = None
    merchant_id: str | None = None
    currency: str | None = None
    fraud_share: float | None = None
    """Share of fraud in the model's labelled training payments."""

    @property
    def money(self) -> str:
        """The amount with its currency."""
        return money(self.amount, shown(self.currency) if self.currency else None)

    @property
    def sum(self) -> str:
        """The same, after the word "amount"."""
        return f"amount {self.money}"

    @property
    def merchant(self) -> str:
        """The merchant by name."""
        return named("merchant", self.merchant_id)

    @property
    def usual(self) -> float | None:
        """The customer's usual amount, if a feature has it: their own, or one that leans on everybody's if that is not shown."""
        own = self.own("30d")
        return self._mean("user") if own is None else own

    @property
    def usual_there(self) -> float | None:
        """The usual amount at the merchant, if a feature has it."""
        return self._mean("merchant")

    def _mean(self, entity: str) -> float | None:
        if (mean := self.features.get(f"{entity}_amount_mean")) is not None:
            return mean
        ratio = self.features.get(f"amount_to_{entity}_mean", 0.0)
        return self.amount / ratio if ratio > 0 else None

    @property
    def before(self) -> float | None:
        """The customer's recent payments before this one (count of 30 days), if a feature has it."""
        return self.features.get("user_count_30d")

    def remembers(self, entity: str, label: str = "30d") -> bool:
        """Whether the profile has payments of the customer, or at the merchant, in this span, as far as the features show.

        If not, its mean is everybody's, towards which it shrinks. A remainder of older payments counts for 30 days, but not
        for a shorter span, which needs a payment within it.
        """
        count = self.features.get(f"{entity}_count_{label}", self.features.get(f"{entity}_count_30d"))
        if count is None or label == "30d":
            return count is None or count >= NEVER
        return count >= PRESENT and not self.quiet(entity, label)

    def quiet(self, entity: str, label: str) -> bool:
        """Whether the customer is known to have paid nothing in this span, although a counter may hold older payments."""
        idle = self.idle_seconds(self.features.get("user_idle", 0.0))
        return entity == "user" and idle > HALF_LIVES[label]

    def settled(self, entity: str, label: str) -> bool:
        """Whether the payments before this span show a usual pace. Those within it do not count: a burst is no young history."""
        week, month = (self.features.get(f"{entity}_count_{one}", 0.0) for one in ("7d", "30d"))
        within = 0.0 if label == "7d" else self.features.get(f"{entity}_count_{label}", 0.0)
        return month - within >= FEW and 0 < week - within <= YOUNG * (month - within)

    def usual_count(self, entity: str, label: str) -> float:
        """What the counter of a span would hold at the pace of a month; 0 for a new entity, or if no feature shows it."""
        month = self.features.get(f"{entity}_count_30d", 0.0)
        return month * HALF_LIVES[label] / HALF_LIVES["30d"] if month >= FEW else 0.0

    def own(self, label: str) -> float | None:
        """The customer's own mean amount of a span; None if it has no payments, or the features do not show it.

        Means in features shrink towards everybody's with the weight of one payment, which is much compared with a few in a
        day.
        """
        count, mean = self.features.get(f"user_count_{label}", 0.0), self._mean_of(label)
        against_all = self.features.get("amount_to_overall_mean", 0.0)
        if mean is None or count <= 0 or against_all <= 0 or not self.remembers("user", label):
            return None
        found = (mean * (count + 1) - self.amount / against_all) / count
        return found if found > 0 else None

    def _mean_of(self, label: str) -> float | None:
        month = self._mean("user")
        if label == "30d" or month is None:
            return month
        if (shift := self.features.get(f"user_mean_shift_{label}")) is not None:
            return shift * month
        ratio = self.features.get(f"amount_to_user_mean_{label}", 0.0)
        return self.amount / ratio if ratio > 0 else None

    def shift(self, label: str) -> float | None:
        """The customer's own mean of a span as a multiple of that of 30 days; None like `own`."""
        span, month = self.own(label), self.own("30d")
        return span / month if span is not None and month is not None else None

    @staticmethod
    def idle_seconds(value: float) -> float:
        """Seconds since the customer's last payment, from the feature `user_idle`."""
        return math.expm1(min(value, 50.0))

    def share(self, value: float) -> float | None:
        """The share of the recent payments, from a feature of `features.expressions.share`; None if there are none."""
        if self.before is None:
            return value
        if self.before < NEVER:
            return None
        found = (
            value * (self.before + 1) - 0.5
        )  # the prior has the weight of one payment, and half of it is included here
        return 0.0 if found < NEVER else min(found / self.before, 1.0)
