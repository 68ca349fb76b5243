"""What a feature says of one payment, as a colleague would write it, with the numbers.

A sentence compares the payment with the customer's own habit, wherever the features hold it. Features that say
the same thing in other words share a theme: of each theme an alert gives one sentence.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fraudstream.features.catalogue import DAY, HOUR
from fraudstream.features.operations import NEVER_SECONDS
from fraudstream.features.payment import NEVER, Payment
from fraudstream.features.phrases import duration, money, named, number, percent, rate, shown, times, whole

_SPANS = {"10m": "10 minutes", "1h": "hour", "1d": "day", "7d": "7 days", "30d": "30 days"}
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MOST: Final = 0.5
"""A device, place or merchant of more than this share of the payments is the usual one."""


Tell = Callable[[float, Payment], str]
Notable = Callable[[float, Payment], bool]


def _always(_value: float, _payment: Payment) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Sentence:
    """How a feature is told, and what it is about."""

    theme: str
    tell: Tell
    notable: Notable = _always
    """Whether the value speaks against the payment at all. A split on "no fraud known here" may raise a risk a
    little, by what comes below it in the tree; as a reason it would puzzle whoever reads it."""


def _count(label: str, who: str) -> Tell:
    def tell(value: float, p: Payment) -> str:
        count = whole(value) + 1  # with this one
        said = f"{count:,} payments" if count > 1 else "no other payment"
        if who == "merchant":
            return f"{said} at {p.merchant} in about the last {_SPANS[label]}"
        usual = f"; usual is {rate(p.before)}" if label != "30d" and p.before is not None else ""
        return f"{said} of this customer in about the last {_SPANS[label]}{usual}"

    return tell


def _burst(label: str, who: str) -> Tell:
    def tell(value: float, p: Payment) -> str:
        whose = f"usual at {p.merchant}" if who == "merchant" else "this customer's usual"
        return f"the pace of the last {_SPANS[label]} is {times(value)} {whose}"

    return tell


def _spent(label: str) -> Tell:
    return lambda value, p: f"{p.money} on top of {money(value)} spent in about the last {_SPANS[label]}"


def _shift(label: str) -> Tell:
    return lambda value, _: f"amounts of the last {_SPANS[label]} are {times(value)} this customer's usual"


def _seconds(idle: float) -> float:
    return math.expm1(min(idle, 50.0))


def _soon_or_late(value: float, _: Payment) -> bool:
    return not HOUR < _seconds(value) < 7 * DAY


def _idle(value: float, _: Payment) -> str:
    seconds = _seconds(value)
    if seconds > 0.999 * NEVER_SECONDS:
        return "first payment of this customer in a year, or ever"
    if seconds >= DAY:
        return f"first payment of this customer in {duration(seconds)}"
    return f"only {duration(seconds)} after this customer's last payment"


def _amount(_: float, p: Payment) -> str:
    if not p.usual or p.usual < 0:
        return p.sum
    return f"{p.sum} is {times(p.amount / p.usual)} this customer's usual {money(p.usual)}"


def _multiple(usual: Callable[[Payment], str]) -> Tell:
    def tell(value: float, p: Payment) -> str:
        return f"{p.sum} is {times(value)} {usual(p)} {money(p.amount / value)}" if value > 0 else p.sum

    return tell


def _spread(value: float) -> str:
    return f"{number(abs(value), 1)} times the usual spread {'above' if value >= 0 else 'below'}"


def _user_z(value: float, p: Payment) -> str:
    return f"{p.sum} is {_spread(value)} this customer's usual {money(p.usual) if p.usual else 'amount'}"


def _merchant_z(value: float, p: Payment) -> str:
    mean = p.features.get("merchant_amount_mean")
    usual = money(mean) if mean else "amount"
    return f"{p.sum} is {_spread(value)} the usual {usual} at {p.merchant}"


def _to_max(value: float, p: Payment) -> str:
    if value <= 0 or (p.before is not None and p.before < NEVER):
        return f"{p.sum} from a customer without recent payments"
    before = money(p.amount / value)
    if value > 1:
        return f"{p.sum} is the largest that this customer ever paid; until now it was {before}"
    return f"{p.sum} is {percent(value)} of the largest that this customer ever paid, {before}"


def _device(value: float, p: Payment) -> str:
    device, share = named("device", p.device), p.share(value)
    if share is None:
        return f"{device}, and no recent payment of this customer to compare with"
    if share == 0:
        return f"first payment from {device}; all of this customer's {_recent(p)} came from others"
    return f"{device}: {percent(share)} of this customer's recent payments came from it"


def _merchant(value: float, p: Payment) -> str:
    share = p.share(value)
    if share is None:
        return f"{p.merchant}, and no recent payment of this customer to compare with"
    if share == 0:
        return f"first payment at {p.merchant}; all of this customer's {_recent(p)} were made elsewhere"
    return f"{p.merchant}: {percent(share)} of this customer's recent payments were made there"


def _recent(p: Payment) -> str:
    count = max(whole(p.before or 0.0), 1)
    return "recent payments" if count == 1 else f"{count:,} recent ones"


def _place(p: Payment) -> str:
    here, home = p.transaction_location, p.location
    if not here:
        return "paid at an unknown place" if not home else f"paid at an unknown place, home is {shown(home)}"
    if not home:
        return f"paid in {shown(here)}"
    return (
        f"paid at home in {shown(here)}" if here == home else f"paid in {shown(here)}, home is {shown(home)}"
    )


def _location(value: float | None, p: Payment) -> str:
    if value is None:
        return _place(p)
    share = p.share(value)
    if share is None:
        return f"{_place(p)}, and no recent payment of this customer to compare with"
    if share == 0:
        return f"{_place(p)}, never seen there before"
    return f"{_place(p)}; {percent(share)} of this customer's recent payments were made there"


def _switch(subject: Callable[[Payment], str], changed: str, same: str) -> Tell:
    return lambda value, p: f"{subject(p)}; this customer's last payment {changed if value else same}"


def _judged(subject: Callable[[Payment], str], label: str) -> Tell:
    def tell(value: float, p: Payment) -> str:
        against = f", against {percent(p.fraud_share)} overall" if p.fraud_share else ""
        return f"{subject(p)}: {percent(value)} of the judged payments of about the last {_SPANS[label]} were fraud{against}"

    return tell


def _frauds(subject: Callable[[Payment], str]) -> Tell:
    def tell(value: float, p: Payment) -> str:
        count = whole(value)
        said = (
            "hardly any known fraud"
            if not count
            else f"about {count:,} known fraud{'s' if count > 1 else ''}"
        )
        return f"{subject(p)}: {said} in about the last 30 days"

    return tell


_SUBJECTS: dict[str, Callable[[Payment], str]] = {
    "merchant": lambda p: p.merchant,
    "device": lambda p: named("device", p.device),
    "user": lambda _: "this customer",
}


def _everybody(value: float, p: Payment) -> str:
    return f"{named('device', p.device)} makes {percent(value)} of everybody's payments"


def _merchant_mean(value: float, p: Payment) -> str:
    return f"{p.sum} at {p.merchant}, where {money(value)} is usual"


def _hour(value: float, _: Payment) -> str:
    hour = whole(value) % 24
    return f"paid between {hour:02}:00 and {(hour + 1) % 24:02}:00 UTC"


def _weekday(value: float, _: Payment) -> str:
    return f"paid on a {_WEEKDAYS[whole(value) % 7]} (UTC)"


def _true(value: float, _: Payment) -> bool:
    return value > 0


def _several(value: float, _: Payment) -> bool:
    return whole(value) > 0


def _faster(value: float, _: Payment) -> bool:
    return value > 1


def _unusual(value: float, p: Payment) -> bool:
    share = p.share(value)
    return share is None or share < MOST


def _risky(value: float, p: Payment) -> bool:
    return p.fraud_share is None or value > p.fraud_share


def _away(_: float, p: Payment) -> bool:
    return p.transaction_location != p.location


def _sentences() -> dict[str, Sentence]:
    found = {
        "amount_to_user_mean_7d": Sentence(
            "amount", _multiple(lambda _: "this customer's usual of the last 7 days,")
        ),
        "amount_to_overall_mean": Sentence("amount", _multiple(lambda _: "what is usual for everybody,")),
        "user_amount_z": Sentence("amount", _user_z),
        "amount_to_user_max": Sentence("amount", _to_max),
        "user_idle": Sentence("pace", _idle, _soon_or_late),
        "user_device_share": Sentence("device", _device, _unusual),
        "device_switch": Sentence(
            "device", _switch(_SUBJECTS["device"], "came from another device", "came from it, too"), _true
        ),
        "device_freq": Sentence("device", _everybody),
        "user_location_share": Sentence("place", _location, _unusual),
        "location_change": Sentence(
            "place", lambda _, p: _location(p.features.get("user_location_share"), p), _away
        ),
        "location_switch": Sentence(
            "place", _switch(_place, "was made elsewhere", "was made there, too"), _true
        ),
        "user_merchant_share": Sentence("merchant", _merchant, _unusual),
        "merchant_amount_mean": Sentence("merchant amount", _merchant_mean),
        "amount_to_merchant_mean": Sentence(
            "merchant amount", _multiple(lambda p: f"what is usual at {p.merchant},")
        ),
        "merchant_amount_z": Sentence("merchant amount", _merchant_z),
        "hour": Sentence("time", _hour),
        "weekday": Sentence("time", _weekday),
    }
    for name in ("amount", "amount_log", "user_amount_mean", "user_amount_deviation", "amount_to_user_mean"):
        found[name] = Sentence("amount", _amount)
    for label in _SPANS:
        few = label == "30d"  # hardly any payment in a month is worth a word, in ten minutes it is not
        found[f"user_count_{label}"] = (
            Sentence("pace", _count(label, "user"))
            if few
            else Sentence("pace", _count(label, "user"), _several)
        )
        if label != "10m":
            found[f"merchant_count_{label}"] = Sentence("merchant pace", _count(label, "merchant"))
    for label in ("1h", "1d"):
        found[f"user_burst_{label}"] = Sentence("pace", _burst(label, "user"), _faster)
        found[f"merchant_burst_{label}"] = Sentence("merchant pace", _burst(label, "merchant"), _faster)
    for label in ("1d", "7d"):
        found[f"user_spent_{label}"] = Sentence("spending", _spent(label))
        found[f"user_mean_shift_{label}"] = Sentence("spending", _shift(label))
    for entity, subject in _SUBJECTS.items():
        for label in ("7d", "30d"):
            found[f"{entity}_risk_{label}"] = Sentence(f"{entity} fraud", _judged(subject, label), _risky)
        if entity != "device":
            found[f"{entity}_fraud_30d"] = Sentence(f"{entity} fraud", _frauds(subject), _several)
    return found


SENTENCES: Final = _sentences()
"""A sentence for every feature of `definitions.FEATURES`; a test sees that none is missing."""


def say(feature: str, payment: Payment) -> str:
    """The sentence of a feature of this payment. Never raises, for any finite values and any texts."""
    return SENTENCES[feature].tell(payment.features[feature], payment)


def is_notable(feature: str, payment: Payment) -> bool:
    """Whether this feature of the payment speaks against it."""
    return SENTENCES[feature].notable(payment.features[feature], payment)
