"""A sentence for each feature of a payment, with the numbers.

A sentence compares the payment with the customer's own habit if the features have it. Features that say
the same thing in other words share a theme: an alert has one sentence per theme.
"""

import math
from collections.abc import Callable
from typing import Final

from fraudstream.features.catalogue import DAY, NEVER_SECONDS, SPANS
from fraudstream.features.definitions import FEATURES
from fraudstream.reasons import notable
from fraudstream.reasons.amounts import AMOUNTS
from fraudstream.reasons.payment import NEVER, PRESENT, Payment
from fraudstream.reasons.phrases import duration, in_span, named, percent, rate, shown, whole
from fraudstream.reasons.telling import Sentence, Tell

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORT = ("10m", "1h")
"""Spans beside which a busy merchant's usual pace is told by the hour."""
_NOTHING = "this customer has no recent payments to compare with"


def _count(label: str, who: str) -> Tell:
    def tell(value: float, p: Payment) -> str:
        others = max(whole(in_span(value, p.usual_count(who, label))), int(value >= PRESENT))
        if p.quiet(who, label):
            others = 0
        count = others + 1  # including this one
        said = f"{count:,} payments" if count > 1 else "no other payment"
        usual = ""
        if label != "30d" and p.settled(who, label):
            usual = f"; usual is {rate(p.features[f'{who}_count_30d'], hourly=label in _SHORT)}"
        whose = f"at {p.merchant}" if who == "merchant" else "of this customer"
        return f"{said} {whose} in about the last {SPANS[label]}{usual}"

    return tell


def _burst(label: str, who: str) -> Tell:
    def tell(value: float, p: Payment) -> str:
        whose, it = "this customer's usual", "this customer"
        if who == "merchant":
            whose, it = f"usual at {p.merchant}", p.merchant
        if not p.remembers(who):
            return f"{it} has no recent payments on record"
        if (count := p.features.get(f"{who}_count_{label}")) is not None:
            return _count(label, who)(count, p)
        # Not the value: one payment is added to both rates, which understates a burst after a quiet time.
        far = "far above" if notable.faster(who, label)(value, p) else "not far above"
        return f"the pace of the last {SPANS[label]} is {far} {whose}"

    return tell


def _idle(value: float, p: Payment) -> str:
    seconds = p.idle_seconds(value)
    if seconds <= 0:
        return "not after this customer's last recorded payment: it arrived late, or at the same time"
    if seconds < 1:
        return "less than a second after this customer's last payment"
    if seconds > 0.999 * NEVER_SECONDS:
        return "this customer has no payments on record, or none for a year"
    if seconds >= DAY:
        return f"this customer has no payments on record in the {duration(seconds, math.floor)} before"
    return f"only {duration(seconds)} after this customer's last payment"


def _device(value: float, p: Payment) -> str:
    device, share = named("device", p.device), p.share(value)
    if share is None:
        return f"{device}: {_NOTHING}"
    if share == 0:
        return f"no payment from {device} among {_recent(p)}"
    return f"{device}: {_of_recent(share, p)} came from it"


def _merchant(value: float, p: Payment) -> str:
    share = p.share(value)
    if share is None:
        return f"{p.merchant}: {_NOTHING}"
    if share == 0:
        return f"no payment at {p.merchant} among {_recent(p)}"
    return f"{p.merchant}: {_of_recent(share, p)} were made there"


def _of_recent(share: float, p: Payment) -> str:
    # Without the count the prior cannot be removed; it makes small shares look larger.
    at_most = "at most " if p.before is None and share <= 0.5 else ""  # noqa: PLR2004 - the prior's own share
    return f"{at_most}{percent(share)} of this customer's recent payments"


def _recent(p: Payment) -> str:
    # Not "all": the profile is a few seconds behind, and the reader may see payments that it lacks.
    count = max(whole(p.before or 0.0), 1)
    return f"this customer's {f'{count:,} ' if count > 1 else ''}recent payments on record"


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
        return f"{_place(p)}; {_NOTHING}"
    if share == 0:
        return f"{_place(p)}; no payment there among {_recent(p)}"
    return f"{_place(p)}; {_of_recent(share, p)} were made there"


def _switch(subject: Callable[[Payment], str], changed: str, same: str, with_it: str) -> Tell:
    def tell(value: float, p: Payment) -> str:
        if value:
            said = f"this customer's last payment on record {changed}"
        elif not p.remembers("user"):
            said = _NOTHING
        elif p.features.get("user_idle") == 0:
            # Nothing is known of the payment before: the profile's last one is as late as this one, or later.
            said = f"a payment of this customer {with_it}, of the same moment or later, is on record"
        else:
            said = f"this customer's last payment on record {same}, too"
        return f"{subject(p)}; {said}"

    return tell


def _judged(entity: str, label: str) -> Tell:
    subject = _SUBJECTS[entity]

    def tell(value: float, p: Payment) -> str:
        known = p.features.get(f"{entity}_fraud_30d")
        if known is not None and known < NEVER:  # then the share is everybody's, or no reason
            return f"{subject(p)}: no known fraud in about the last 30 days"
        if known is not None and label != "30d" and notable.stale(entity, label, p):
            month = p.features.get(f"{entity}_risk_30d")
            return _frauds(subject)(known, p) if month is None else _judged(entity, "30d")(month, p)
        against = f", against {percent(p.fraud_share)} overall" if p.fraud_share else ""
        return f"{subject(p)}: {percent(value)} of the labelled payments of about the last {SPANS[label]} were fraud{against}"

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
    return f"{named('device', p.device)} accounts for {percent(value)} of everybody's payments"


def _hour(value: float, _: Payment) -> str:
    hour = whole(value) % 24
    return f"paid between {hour:02}:00 and {(hour + 1) % 24:02}:00 UTC"


def _weekday(value: float, _: Payment) -> str:
    return f"paid on a {_WEEKDAYS[whole(value) % 7]} (UTC)"


def _paces() -> dict[str, Sentence]:
    found = {"user_idle": Sentence("pace", _idle, notable.soon_or_late)}
    for who, theme, labels in (("user", "pace", SPANS), ("merchant", "merchant pace", list(SPANS)[1:])):
        for label in labels:
            found[f"{who}_count_{label}"] = Sentence(theme, _count(label, who), notable.crowded(who, label))
        for label in ("1h", "1d"):
            found[f"{who}_burst_{label}"] = Sentence(theme, _burst(label, who), notable.faster(who, label))
    return found


def _habits() -> dict[str, Sentence]:
    device = _switch(_SUBJECTS["device"], "did not come from it", "came from it", "from it")
    place = _switch(_place, "was not made there", "was made there", "there")
    return {
        "user_device_share": Sentence("device", _device, notable.rare),
        "device_switch": Sentence("device", device, notable.true),
        "device_freq": Sentence("device", _everybody, notable.scarce),
        "user_location_share": Sentence("place", _location, notable.rare),
        "location_change": Sentence(
            "place", lambda _, p: _location(p.features.get("user_location_share"), p), notable.away
        ),
        "location_switch": Sentence("place", place, notable.true),
        "user_merchant_share": Sentence("merchant", _merchant, notable.rare),
    }


def _frauds_known() -> dict[str, Sentence]:
    found = {}
    for entity, subject in _SUBJECTS.items():
        theme = f"{entity} fraud"
        for label in ("7d", "30d"):
            found[f"{entity}_risk_{label}"] = Sentence(
                theme, _judged(entity, label), notable.risky(entity, label)
            )
        found[f"{entity}_fraud_30d"] = Sentence(theme, _frauds(subject), notable.several)
    return found


SENTENCES: Final[dict[str, Sentence]] = {
    **AMOUNTS,
    **_paces(),
    **_habits(),
    **_frauds_known(),
    "hour": Sentence("time", _hour),
    "weekday": Sentence("time", _weekday),
}
"""A sentence for every feature of `definitions.FEATURES`; a test ensures that none is missing."""


_WITHOUT: Final[dict[str, Tell]] = {
    "merchant_id": lambda _, __: "paid without a merchant",
    "device": lambda _, __: "paid from an unknown device",
    "transaction_location": lambda _, p: _place(p),
    "location": lambda _, p: f"{_place(p)}, home is unknown",
}
"""What is said of a payment without a field instead of what a feature says about the field."""


def _lacking(feature: str, p: Payment) -> str | None:
    """The field that this feature is about, if the payment has none."""
    # A merchant is optional in a message; any other field that is None is one that the decision does not carry.
    absent = [
        field for field in _WITHOUT if getattr(p, field) in (("", None) if field == "merchant_id" else ("",))
    ]
    return next((field for field in absent if field in FEATURES[feature].needs), None)


def lacks_subject(feature: str, payment: Payment) -> bool:
    """Whether this feature is about a merchant, device or place that is unknown, so that its value means nothing."""
    return _lacking(feature, payment) is not None


def say(feature: str, payment: Payment) -> str:
    """The sentence for a feature of this payment. Never raises, for any finite values and any strings."""
    lacking = _lacking(feature, payment)
    tell = SENTENCES[feature].tell if lacking is None else _WITHOUT[lacking]
    return tell(payment.features[feature], payment)


def is_notable(feature: str, payment: Payment) -> bool:
    """Whether this feature of the payment looks suspicious."""
    return SENTENCES[feature].notable(payment.features[feature], payment)
