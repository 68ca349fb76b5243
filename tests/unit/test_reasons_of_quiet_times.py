"""Of a time in which nothing happened no reason tells amounts or shares: features lean on everybody's there."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import pyarrow as pa
import pytest

from fraudstream.features.catalogue import DAY
from fraudstream.features.context import with_context
from fraudstream.features.definitions import FEATURES
from fraudstream.features.events import INSTANT
from fraudstream.features.training import view
from fraudstream.reasons.payment import Payment
from fraudstream.reasons.sentences import is_notable, say

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SHIFTS = ("user_mean_shift_1d", "user_mean_shift_7d")
OF_SPANS = (*SHIFTS, "amount_to_user_mean_7d")


@cache
def payment(days_ago: float, amount: float = 12.0, last: float = 10.0) -> Payment:
    """Of a customer who paid 10.00 once a day until `days_ago`, the last time `last`; everybody's mean is about 100.

    At its merchant one fraud of 60 days ago is known, and nothing was judged since; elsewhere 1.5 % is fraud.
    """
    own = [(days_ago + day, "c", last if not day else 10.0, "quiet", None) for day in range(120)]
    others = [(n / 16, f"u{n % 50}", 100.0, f"m{n % 7}", n % 67 == 0) for n in range(160, 4_000)]
    merchant = [
        (60.0, "u1", 50.0, "quiet", True),
        *((n / 2, "u2", 50.0, "quiet", None) for n in range(1, 100)),
    ]
    rows = sorted([*own, *others, *merchant, (0.0, "c", amount, "quiet", None)], key=lambda row: -row[0])
    days, users, amounts, merchants, frauds = zip(*rows, strict=True)
    table = pa.table({
        "timestamp": pa.array([NOW - timedelta(days=day) for day in days], INSTANT), "user_id": users,
        "amount": amounts, "merchant_id": merchants, "is_fraud": pa.array(frauds, pa.bool_()),
        **dict.fromkeys(("device", "location", "transaction_location"), pa.array(["x"] * len(rows))),
    })  # fmt: skip
    found = view(table, 7, tuple(FEATURES))
    return Payment(
        amount,
        dict(zip(found.names, found.values[-1].tolist(), strict=True)),
        merchant_id="quiet",
        fraud_share=0.005,
    )


@pytest.mark.parametrize("days_ago", [0.5, 4.0, 30.0])
def test_a_customer_who_always_pays_the_same_is_never_told_to_pay_otherwise_lately(days_ago: float) -> None:
    """The features say 3.9, 7.3 and 6.8 times: everybody's mean, with the weight of one payment."""
    found = payment(days_ago)
    assert found.features["user_mean_shift_1d"] > 3
    assert not any(is_notable(name, found) for name in OF_SPANS)


@pytest.mark.parametrize(
    ("days_ago", "span"), [(1.6, "1 day"), (7.6, "7 days"), (7.0, "7 days"), (45.0, "45 days")]
)
def test_no_time_is_told_to_be_without_payments_in_which_there_was_one(days_ago: float, span: str) -> None:
    """A payment of 7.6 days ago lies within the 8 days before."""
    found = Payment(10.0, {"user_idle": math.log1p(days_ago * DAY)})
    assert say("user_idle", found) == f"this customer has no payments on record in the {span} before"


@pytest.mark.parametrize("days_ago", [4.0, 30.0])
def test_a_day_without_a_payment_is_told_as_one(days_ago: float) -> None:
    assert say("user_mean_shift_1d", payment(days_ago)) == (
        "this customer has no payments on record for about the last day"
    )


@pytest.mark.parametrize(("feature", "span"), [("user_spent_1d", "day"), ("user_spent_7d", "7 days")])
def test_what_was_spent_months_ago_is_not_told_as_spent_lately(feature: str, span: str) -> None:
    """A decayed sum is above 0 of everybody who ever paid; a model that looks at nothing else knows it, too."""
    whole = payment(30.0, 500.0)
    found = replace(whole, features={n: whole.features[n] for n in with_context((feature,))})
    assert found.features[feature] > 0
    assert not is_notable(feature, found)
    assert say(feature, found) == f"this customer has no payments on record for about the last {span}"


def test_what_was_spent_lately_is_told() -> None:
    found = payment(0.5, 500.0)
    assert is_notable("user_spent_1d", found)
    assert say("user_spent_1d", found).startswith("500.00 on top of ")


def test_what_is_told_of_a_span_is_the_customers_own() -> None:
    found = payment(0.5)
    assert say("user_mean_shift_1d", found) == "amounts of the last day are about this customer's usual"
    assert say("amount_to_user_mean_7d", payment(0.5, 40.0)) == (
        "amount 40.00 is 4.0 times this customer's usual of the last 7 days, 10.00"
    )
    assert is_notable("amount_to_user_mean_7d", payment(0.5, 40.0))


def test_a_week_without_a_payment_has_no_usual_of_its_own() -> None:
    assert "of the last 7 days" not in say("amount_to_user_mean_7d", payment(30.0, 400.0))


def test_after_a_week_without_a_payment_an_unusual_amount_is_still_told() -> None:
    assert is_notable("amount_to_user_mean_7d", payment(30.0, 400.0))
    assert not is_notable("amount_to_user_mean_7d", payment(30.0, 12.0))


def test_a_day_of_unusual_amounts_is_still_told() -> None:
    found = payment(0.5, last=90.0)
    assert is_notable("user_mean_shift_1d", found)
    assert say("user_mean_shift_1d", found).startswith("amounts of the last day are 4.")


def test_frauds_of_two_months_ago_are_no_share_of_the_last_7_days() -> None:
    found = payment(0.5)
    assert found.features["merchant_risk_7d"] > 0.005
    assert "7 days" not in say("merchant_risk_7d", found)
    assert say("merchant_risk_7d", found) == say("merchant_risk_30d", found)


def test_old_frauds_are_told_as_old_by_a_model_that_knows_nothing_but_the_share_of_a_week() -> None:
    """It is told with the known frauds, which its model does not look at."""
    whole = payment(0.5)
    found = replace(whole, features={n: whole.features[n] for n in with_context(("merchant_risk_7d",))})
    assert "7 days" not in say("merchant_risk_7d", found)


def test_without_the_share_of_30_days_old_frauds_are_counted() -> None:
    found = Payment(
        20.0, {"merchant_risk_7d": 0.018, "merchant_fraud_30d": 0.25}, merchant_id="m-1", fraud_share=0.005
    )
    assert say("merchant_risk_7d", found) == "merchant m-1: hardly any known fraud in about the last 30 days"
    assert not is_notable("merchant_risk_7d", found)


def test_a_known_fraud_is_a_reason_without_the_share_of_30_days_too() -> None:
    """It is 10 days old, and the sentence counts it."""
    features = {"merchant_risk_7d": 0.018, "merchant_fraud_30d": 0.8}
    found = Payment(20.0, features, merchant_id="m-1", fraud_share=0.005)
    assert say("merchant_risk_7d", found) == "merchant m-1: about 1 known fraud in about the last 30 days"
    assert is_notable("merchant_risk_7d", found)


def test_a_burst_is_told_by_the_counters_and_not_by_their_smoothed_ratio() -> None:
    """Five payments within the hour, of a customer of one a day: the feature, with one payment added to both, says 4.9."""
    days = [*(1.0 + day for day in range(120)), *(minute / 1_440 for minute in (25, 20, 15, 10, 5)), 0.0]
    table = pa.table({
        "timestamp": pa.array([NOW - timedelta(days=day) for day in days], INSTANT), "user_id": ["c"] * len(days),
        "amount": [10.0] * len(days),
    })  # fmt: skip
    names = ("user_count_1h", "user_burst_1h", "user_count_7d", "user_count_30d")
    found = dict(zip(names, view(table, 7, names).values[-1].tolist(), strict=True))
    counted = found["user_count_1h"] / (found["user_count_30d"] / 720)
    assert counted > 10 * found["user_burst_1h"]
    assert say("user_burst_1h", Payment(10.0, found)) == (
        f"{round(found['user_count_1h']) + 1} payments of this customer in about the last hour; usual is one a day"
    )


def counted(feature: str, *minutes: float) -> Payment:
    """A payment so many minutes after others of its customer, as a decision of a model of this feature carries it."""
    before = [*sorted(minutes, reverse=True), 0.0]
    table = pa.table({
        "timestamp": pa.array([NOW - timedelta(minutes=minute) for minute in before], INSTANT),
        "user_id": ["c"] * len(before), "amount": [10.0] * len(before),
    })  # fmt: skip
    names = with_context((feature,))
    return Payment(10.0, dict(zip(names, view(table, 7, names).values[-1].tolist(), strict=True)))


@pytest.mark.parametrize(
    ("feature", "minutes", "span"),
    [
        ("user_count_10m", [40 + n / 8 for n in range(40)], "10 minutes"),
        ("user_count_1h", [180 + n for n in range(10)], "hour"),
        ("user_burst_1h", [180 + n for n in range(40)], "hour"),
        ("user_count_1d", [5_760 + 5 * n for n in range(20)], "day"),
        ("user_burst_1d", [5_760 + 5 * n for n in range(80)], "day"),
        ("user_count_7d", [36_000 + 5 * n for n in range(120)], "7 days"),
    ],
)
def test_payments_before_a_span_are_not_counted_in_it(feature: str, minutes: list[float], span: str) -> None:
    """Of many of them the counter holds several still; only the time of the last one tells."""
    found = counted(feature, *minutes)
    assert say(feature, found).startswith(f"no other payment of this customer in about the last {span}")
    assert not is_notable(feature, found)


def test_a_month_without_a_payment_is_no_month_of_several() -> None:
    found = counted("user_count_30d", *(45 * 1_440 + n for n in range(12)))
    assert found.features["user_count_30d"] > 4
    assert say("user_count_30d", found) == "no other payment of this customer in about the last 30 days"
    assert is_notable("user_count_30d", found)


def test_payments_within_a_span_are_still_counted() -> None:
    found = counted("user_count_10m", *(9 + n / 8 for n in range(40)))
    assert say("user_count_10m", found).endswith(" payments of this customer in about the last 10 minutes")
    assert is_notable("user_count_10m", found)
