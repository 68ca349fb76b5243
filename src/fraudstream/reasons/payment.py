"""A transaction as the sentences of its alert see it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from fraudstream.reasons.phrases import money, named, shown

NEVER: Final = 0.01
"""A counter below this stands for nothing: with 30 days one event fades to it in 200."""


@dataclass(frozen=True, slots=True)
class Payment:
    """A transaction as its alert sees it: fields, and features by name."""

    amount: float
    features: Mapping[str, float] = field(default_factory=dict)
    device: str | None = None
    location: str | None = None
    transaction_location: str | None = None
    merchant_id: str | None = None
    currency: str | None = None
    fraud_share: float | None = None
    """Of the judged payments in the history that the model learnt from."""

    @property
    def money(self) -> str:
        """The amount with its currency."""
        return money(self.amount) + (f" {shown(self.currency)}" if self.currency else "")

    @property
    def sum(self) -> str:
        """The same, called by its name."""
        return f"amount {self.money}"

    @property
    def merchant(self) -> str:
        """The merchant by name."""
        return named("merchant", self.merchant_id)

    @property
    def usual(self) -> float | None:
        """The customer's usual amount, where a feature holds it."""
        return self._mean("user")

    @property
    def usual_there(self) -> float | None:
        """The usual amount at the merchant, where a feature holds it."""
        return self._mean("merchant")

    def _mean(self, entity: str) -> float | None:
        if (mean := self.features.get(f"{entity}_amount_mean")) is not None:
            return mean
        ratio = self.features.get(f"amount_to_{entity}_mean", 0.0)
        return self.amount / ratio if ratio > 0 else None

    @property
    def before(self) -> float | None:
        """The customer's recent payments before this one (count of 30 days), where a feature holds it."""
        return self.features.get("user_count_30d")

    def remembers(self, entity: str, label: str = "30d") -> bool:
        """Whether payments of the customer, or at the merchant, are remembered of this time, as far as the features tell.

        Where none are, the mean of it is everybody's, on which it leans.
        """
        count = self.features.get(f"{entity}_count_{label}", self.features.get(f"{entity}_count_30d"))
        return count is None or count >= NEVER

    @staticmethod
    def idle_seconds(value: float) -> float:
        """Since the customer's last payment, from the feature `user_idle`."""
        return math.expm1(min(value, 50.0))

    def share(self, value: float) -> float | None:
        """Share of the recent payments, from a feature of `features.expressions.share`; None where there are none."""
        if self.before is None:
            return value
        if self.before < NEVER:
            return None
        found = value * (self.before + 1) - 0.5  # the prior weighs one payment, and half of it is here
        return 0.0 if found < NEVER else min(found / self.before, 1.0)
