"""Whether the value of a feature speaks against a payment at all, in the eyes of a person.

Trees find reasons in combinations: a split on "no fraud known here", or on an amount a tenth above the usual one, may
raise a risk by what comes below it. As a reason of an alert it would puzzle whoever reads it.
"""

from collections.abc import Callable
from typing import Final

from fraudstream.features.catalogue import DAY, HALF_LIVES, HOUR
from fraudstream.features.expressions import PRIOR_RATE
from fraudstream.reasons.payment import FEW, NEVER, PRESENT, Payment
from fraudstream.reasons.phrases import whole

Notable = Callable[[float, Payment], bool]

FAR: Final = 1.5
"""Multiples of what is usual, up or down, below which nobody would call something unusual."""
RARE: Final = 0.1
"""A device, place or merchant of more than this share of the payments is one of the customer's own."""


def always(_value: float, _payment: Payment) -> bool:
    """What has no usual value to compare with."""
    return True


def true(value: float, _: Payment) -> bool:
    """A flag that is set, an amount that is there."""
    return value > 0


def within(label: str) -> Notable:
    """What payments of this span left: a decayed sum is above 0 of anybody who ever paid."""
    return lambda value, p: value > 0 and p.remembers("user", label)


def several(value: float, _: Payment) -> bool:
    """A count that rounds to one at least."""
    return whole(value) > 0


def faster(value: float, _: Payment) -> bool:
    """A multiple that is well above 1."""
    return value >= FAR


def far(value: float, _: Payment) -> bool:
    """A multiple that is well above or below 1."""
    return value >= FAR or value <= 1 / FAR


def shifted(label: str) -> Notable:
    """Payments of this span far from the customer's usual, and not merely the mean of everybody, on which both lean."""
    return lambda _, p: (shift := p.shift(label)) is not None and far(shift, p)


def far_from_week(value: float, p: Payment) -> bool:
    """An amount far from the customer's own mean of the last 7 days, or from the usual one that is told in its place."""
    if not p.remembers("user", "7d"):
        return unusual_amount(value, p)
    usual = p.own("7d")
    return far(p.amount / usual if usual else value, p)


def deviating(value: float, _: Payment) -> bool:
    """More than the usual spread away."""
    return abs(value) > 1


def large(value: float, _: Payment) -> bool:
    """Near to the largest ever, or above."""
    return value > 1 / FAR


def unusual_amount(_: float, p: Payment) -> bool:
    """An amount well above or below the customer's usual one."""
    return not p.usual or far(p.amount / p.usual, p)


def crowded(entity: str, label: str) -> Notable:
    """More payments than the entity's pace of a month would bring into the span, this one included."""

    def notable(value: float, p: Payment) -> bool:
        if label == "30d":
            return value < FEW
        usual = p.features.get(f"{entity}_count_30d", 0.0) * HALF_LIVES[label] / HALF_LIVES["30d"]
        return whole(value) > 0 and value + 1 > FAR * usual

    return notable


def soon_or_late(value: float, p: Payment) -> bool:
    """Within an hour of the last payment, or after a week without any."""
    return not HOUR < p.idle_seconds(value) < 7 * DAY


def rare(value: float, p: Payment) -> bool:
    """A share of the customer's payments that is small, or of none."""
    share = p.share(value)
    return share is None or share < RARE


def scarce(value: float, _: Payment) -> bool:
    """A share of everybody's payments that is small: what many use speaks against nobody."""
    return value < RARE


def stale(entity: str, label: str, p: Payment) -> bool:
    """Whether the known frauds are too old for this span: what faded so far in 30 days is nothing of the last 7."""
    known = p.features.get(f"{entity}_fraud_30d")
    return known is not None and known < PRESENT ** (HALF_LIVES[label] / HALF_LIVES["30d"])


def risky(entity: str, label: str) -> Notable:
    """More fraud than usual, and not merely what is assumed of an entity of which no payment was judged.

    That is the share of fraud overall, which moves. A decision of an earlier version may not count the known frauds: there
    it takes a clear excess.
    """

    def notable(value: float, p: Payment) -> bool:
        known = p.features.get(f"{entity}_fraud_30d")
        if known is None:
            return value > FAR * max(p.fraud_share or 0.0, PRIOR_RATE)
        if label != "30d" and stale(entity, label, p):
            # In its place the month is told, or else the number of known frauds.
            if (month := p.features.get(f"{entity}_risk_30d")) is None:
                return several(known, p)
            value = month
        return known >= NEVER and (p.fraud_share is None or value > p.fraud_share)

    return notable


def away(_: float, p: Payment) -> bool:
    """Not at the customer's home."""
    return p.transaction_location != p.location
