"""Payments in a customer's stored history that the profile lacked when an alert was decided.

Profiles are seconds behind the stream, which can be minutes of the customers' time if their clock runs fast: a "first"
payment from a device may have been the eighth. Looked up when an alert is explained, not when it is stored.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fraudstream.features.catalogue import DAY
from fraudstream.reasons.payment import Payment
from fraudstream.reasons.phrases import duration, named, shown
from fraudstream.store.alerts import Alert
from fraudstream.store.history import Past

SEEN: Final = 60
"""Number of earlier payments to look at, the newest ones."""


@dataclass(frozen=True, slots=True)
class _Habit:
    """A share in the profile, and the field of a payment that it is about."""

    share: str
    field: str
    """The field of the payment."""
    words: Callable[[str], str]


_DEVICE = _Habit("user_device_share", "device", lambda text: f"from {named('device', text)}")
_PLACE = _Habit("user_location_share", "transaction_location", lambda text: f"in {shown(text)}")
_MERCHANT = _Habit("user_merchant_share", "merchant_id", lambda text: f"at {named('merchant', text)}")
_HABITS: Final = {
    "user_device_share": _DEVICE,
    "device_switch": _DEVICE,
    "user_location_share": _PLACE,
    "location_change": _PLACE,
    "location_switch": _PLACE,
    "user_merchant_share": _MERCHANT,
}
"""By the feature that a reason names."""


def hindsight(alert: Alert, history: Sequence[Past]) -> list[str]:
    """A sentence for each reason of the alert that the customer's `history` contradicts.

    Exact although `history` has only the newest payments, as each sentence says how far back it counts.
    """
    earlier = [past for past in history if past.timestamp < alert.timestamp]
    told = {str(reason.get("feature")) for reason in alert.reasons}
    habits = {habit.field: habit for feature, habit in _HABITS.items() if feature in told}
    said = [
        _sentence(alert, habit.words(str(getattr(alert, habit.field))), missed)
        for habit in habits.values()
        if (missed := _of_habit(alert, habit, earlier))
    ]
    if "user_idle" in told and (missed := _of_pause(alert, earlier)):
        said.append(_sentence(alert, "of this customer", missed))
    return said


def _of_habit(alert: Alert, habit: _Habit, earlier: Sequence[Past]) -> list[Past]:
    """Earlier payments with the alert's device, place or merchant, if the profile had none of them."""
    value, text = alert.features.get(habit.share), getattr(alert, habit.field)
    if value is None or not text or Payment(alert.amount, alert.features).share(value):
        return []
    return [past for past in earlier if getattr(past, habit.field) == text]


def _of_pause(alert: Alert, earlier: Sequence[Past]) -> list[Past]:
    """Payments within a pause of a day or more before the alert, as the profile saw it."""
    pause = Payment.idle_seconds(alert.features.get("user_idle", 0.0))
    if pause < DAY:
        return []
    return [past for past in earlier if _seconds(alert, past) < pause - 1]


def _seconds(alert: Alert, past: Past) -> float:
    return (alert.timestamp - past.timestamp).total_seconds()


def _sentence(alert: Alert, which: str, missed: Sequence[Past]) -> str:
    count = len(missed)
    payments = "1 earlier payment" if count == 1 else f"{count:,} earlier payments"
    span = duration(max(_seconds(alert, past) for past in missed), math.ceil)
    return f"Known since: {payments} {which} in the {span} before, which the profile did not include when the decision was made."
