"""Whether the value of a feature would look suspicious to a person.

Trees split on combinations: a split on "no fraud known here", or on an amount a tenth above the usual one, may
raise the risk because of splits below it. As a reason of an alert it would puzzle the reader.
"""

from collections.abc import Callable
from typing import Final

from fraudstream.features.catalogue import DAY, HALF_LIVES, HOUR
from fraudstream.features.expressions import PRIOR_RATE
from fraudstream.reasons.payment import FEW, NEVER, PRESENT, Payment
from fraudstream.reasons.phrases import whole

Notable = Callable[[float, Payment], bool]

FAR: Final = 1.5
"""Multiple of the usual value, up or down, from which people would call something unusual."""
RARE: Final = 0.1
"""A device, place or merchant with more than this share of the payments is habitual."""


def always(_value: float, _payment: Payment) -> bool:
    """Always notable, as there is no usual value to compare with."""
    return True


def true(value: float, _: Payment) -> bool:
    """A flag that is set, or a positive amount."""
    return value > 0


def within(label: str) -> Notable:
    """Payments within this span: for anybody who ever paid, a decayed sum is above 0."""
    return lambda value, p: value > 0 and p.remembers("user", label)


def several(value: float, _: Payment) -> bool:
    """A count that rounds to at least one."""
    return whole(value) > 0


def faster(entity: str, label: str) -> Notable:
    """A pace well above the usual one, of payments within this span."""
    return lambda value, p: value >= FAR and not p.quiet(entity, label)


def far(value: float, _: Payment) -> bool:
    """A multiple that is well above or below 1."""
    return value >= FAR or value <= 1 / FAR


def shifted(label: str) -> Notable:
    """Payments of this span far from the customer's usual ones, and not just everybody's mean, towards which both shrink."""
    return lambda _, p: (shift := p.shift(label)) is not None and far(shift, p)


def far_from_week(value: float, p: Payment) -> bool:
    """An amount far from the customer's own mean of the last 7 days, or from the usual one that the sentence names instead."""
    if not p.remembers("user", "7d"):
        return unusual_amount(value, p)
    usual = p.own("7d")
    return far(p.amount / usual if usual else value, p)


def deviating(value: float, _: Payment) -> bool:
    """More than the usual deviation away."""
    return abs(value) > 1


def contradicts(value: float, p: Payment) -> bool:
    """Whether this deviation is on the other side of the customer's own usual amount.

    The feature deviates from a mean that leans on everybody's.
    """
    return p.usual is not None and (p.amount - p.usual) * value < 0


def deviating_from_usual(value: float, p: Payment) -> bool:
    """The same from the customer's usual amount; where the two contradict each other, the sentence compares the amounts."""
    return deviating(value, p) and (not contradicts(value, p) or unusual_amount(value, p))


def large(value: float, _: Payment) -> bool:
    """Close to the largest ever, or above."""
    return value > 1 / FAR


def unusual_amount(_: float, p: Payment) -> bool:
    """An amount well above or below the customer's usual one."""
    return not p.usual or far(p.amount / p.usual, p)


def crowded(entity: str, label: str) -> Notable:
    """More payments, including this one, than the entity's monthly rate predicts for the span."""

    def notable(value: float, p: Payment) -> bool:
        if label == "30d":
            return value < FEW
        if p.quiet(entity, label):
            return False
        usual = p.features.get(f"{entity}_count_30d", 0.0) * HALF_LIVES[label] / HALF_LIVES["30d"]
        return whole(value) > 0 and value + 1 > FAR * usual

    return notable


def soon_or_late(value: float, p: Payment) -> bool:
    """Within an hour of the last payment, or after a week without any."""
    return not HOUR < p.idle_seconds(value) < 7 * DAY


def rare(value: float, p: Payment) -> bool:
    """A small share of the customer's payments, or no payments."""
    share = p.share(value)
    return share is None or share < RARE


def scarce(value: float, _: Payment) -> bool:
    """A small share of everybody's payments: something that many use is not suspicious."""
    return value < RARE


def stale(entity: str, label: str, p: Payment) -> bool:
    """Whether the known frauds are too old for this span: a count that decayed this far over 30 days has none of the last 7."""
    known = p.features.get(f"{entity}_fraud_30d")
    return known is not None and known < PRESENT ** (HALF_LIVES[label] / HALF_LIVES["30d"])


def risky(entity: str, label: str) -> Notable:
    """More fraud than usual, and not just the default for an entity without labelled payments.

    The default is the overall share of fraud, which varies. A decision of an earlier version may lack the number of known
    frauds, so there a clear excess is required.
    """

    def notable(value: float, p: Payment) -> bool:
        known = p.features.get(f"{entity}_fraud_30d")
        if known is None:
            return value > FAR * max(p.fraud_share or 0.0, PRIOR_RATE)
        if label != "30d" and stale(entity, label, p):
            # The month is mentioned instead, or the number of known frauds.
            if (month := p.features.get(f"{entity}_risk_30d")) is None:
                return several(known, p)
            value = month
        return known >= NEVER and (p.fraud_share is None or value > p.fraud_share)

    return notable


def away(_: float, p: Payment) -> bool:
    """Not at the customer's home, as far as both are known."""
    return bool(p.transaction_location and p.location) and p.transaction_location != p.location
