"""Sentences about amounts, compared with the customer's own habit, the merchant's, and everybody's."""

from collections.abc import Callable
from typing import Final

from fraudstream.features.catalogue import SPANS
from fraudstream.reasons import notable
from fraudstream.reasons.payment import Payment
from fraudstream.reasons.phrases import in_span, money, number, percent, times
from fraudstream.reasons.telling import Sentence, Tell

_PERIODS = ("1d", "7d")
_EVERYBODYS = "what is usual for everybody,"


def _known(entity: str, tell: Tell, otherwise: Tell, label: str = "30d") -> Tell:
    """Use `tell` only if the profile has payments of the entity: otherwise its mean is everybody's."""
    return lambda value, p: (tell if p.remembers(entity, label) else otherwise)(value, p)


def _week(value: float, p: Payment) -> str:
    usual = p.own("7d") or (p.amount / value if value > 0 else None)
    return _against(p, "this customer's usual of the last 7 days,", usual)


def _against(p: Payment, whose: str, usual: float | None) -> str:
    if not usual or usual < 0:
        return p.sum
    return f"{p.sum} is {times(p.amount / usual)} {whose} {money(usual)}"


def _amount(_: float, p: Payment) -> str:
    return _against(p, "this customer's usual", p.usual)


def _new_customer(_: float, p: Payment) -> str:
    return _against(p, _EVERYBODYS, p.usual)


def _new_merchant(_: float, p: Payment) -> str:
    return f"{p.merchant} has no recent payments on record; {_against(p, _EVERYBODYS, p.usual_there)}"


def _multiple(usual: Callable[[Payment], str]) -> Tell:
    def tell(value: float, p: Payment) -> str:
        return f"{p.sum} is {times(value)} {usual(p)} {money(p.amount / value)}" if value > 0 else p.sum

    return tell


def _spread(value: float) -> str:
    digits = 0 if abs(value) >= 10 else 1  # noqa: PLR2004 - two digits say it
    return f"{number(abs(value), digits)} times the usual spread {'above' if value >= 0 else 'below'}"


def _user_z(value: float, p: Payment) -> str:
    if notable.contradicts(value, p):
        return _amount(value, p)
    return f"{p.sum} is {_spread(value)} this customer's usual {money(p.usual) if p.usual else 'amount'}"


def _merchant_z(value: float, p: Payment) -> str:
    mean = p.features.get("merchant_amount_mean")
    usual = money(mean) if mean else "amount"
    return f"{p.sum} is {_spread(value)} the usual {usual} at {p.merchant}"


def _merchant_mean(value: float, p: Payment) -> str:
    return f"{p.sum} at {p.merchant}, where {money(value)} is usual"


def _to_max(value: float, p: Payment) -> str:
    if value <= 0 or not p.remembers("user"):
        return f"{p.sum} from a customer with no recent payments on record"
    before = money(p.amount / value)
    if value > 1:
        return f"{p.sum} is the largest on record for this customer; until now it was {before}"
    return f"{p.sum} is {percent(value)} of the largest on record for this customer, {before}"


def _of_span(label: str, tell: Tell) -> Tell:
    quiet = f"this customer has no payments on record for about the last {SPANS[label]}"
    return _known("user", tell, lambda _, __: quiet, label)


def _spent(label: str) -> Tell:
    def tell(value: float, p: Payment) -> str:
        usual = max(p.usual_count("user", label) * (p.usual or 0.0), 0.0)
        return f"{p.money} on top of {money(in_span(value, usual))} spent in about the last {SPANS[label]}"

    return _of_span(label, tell)


def _shift(label: str) -> Tell:
    return _of_span(
        label,
        lambda value, p: (
            f"amounts of the last {SPANS[label]} are {times(p.shift(label) or value)} this customer's usual"
        ),
    )


def _own() -> dict[str, Sentence]:
    usual = _known("user", _amount, _new_customer)
    amount = Sentence("amount", usual, notable.unusual_amount)
    names = ("amount", "amount_log", "user_amount_mean", "user_amount_deviation", "amount_to_user_mean")
    everybody = _multiple(lambda _: _EVERYBODYS)
    return {
        **dict.fromkeys(names, amount),
        "amount_to_user_mean_7d": Sentence(
            "amount", _known("user", _week, usual, "7d"), notable.far_from_week
        ),
        "amount_to_overall_mean": Sentence("amount", everybody, notable.far),
        "user_amount_z": Sentence(
            "amount", _known("user", _user_z, _new_customer), notable.deviating_from_usual
        ),
        "amount_to_user_max": Sentence("amount", _to_max, notable.large),
    }


def _at_merchants() -> dict[str, Sentence]:
    multiple = _multiple(lambda p: f"what is usual at {p.merchant},")
    told: dict[str, tuple[Tell, notable.Notable]] = {
        "merchant_amount_mean": (
            _merchant_mean,
            lambda value, p: value <= 0 or notable.far(p.amount / value, p),
        ),
        "amount_to_merchant_mean": (multiple, notable.far),
        "merchant_amount_z": (_merchant_z, notable.deviating),
    }
    return {
        name: Sentence("merchant amount", _known("merchant", tell, _new_merchant), when)
        for name, (tell, when) in told.items()
    }


AMOUNTS: Final[dict[str, Sentence]] = {
    **_own(),
    **_at_merchants(),
    **{
        f"user_spent_{label}": Sentence("spending", _spent(label), notable.within(label))
        for label in _PERIODS
    },
    **{
        f"user_mean_shift_{label}": Sentence("spending", _shift(label), notable.shifted(label))
        for label in _PERIODS
    },
}
