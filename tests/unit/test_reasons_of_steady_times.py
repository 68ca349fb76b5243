"""A steady pace is told as what it is: a decayed count holds 1.44 times what a span brings, a burst what it was."""

import math
import re
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from fraudstream.features.catalogue import DAY, HALF_LIVES
from fraudstream.features.context import with_context
from fraudstream.features.events import INSTANT
from fraudstream.features.training import view
from fraudstream.reasons.payment import Payment
from fraudstream.reasons.sentences import is_notable, say

NOW = datetime(2026, 6, 1, tzinfo=UTC)
UNITS = {"hour": 3_600.0, "day": DAY, "week": 7 * DAY}


def steady(a_day: float, label: str) -> float:
    """The decayed count of a span that such a pace keeps."""
    return a_day * HALF_LIVES[label] / DAY / math.log(2)


def told_of(feature: str, *days: float) -> str:
    """What is said of a payment of 10.00 after others of a customer, so many days before it."""
    table = pa.table({
        "timestamp": pa.array([NOW - timedelta(days=day) for day in (*days, 0.0)], INSTANT),
        "user_id": ["c"] * (len(days) + 1), "amount": [10.0] * (len(days) + 1),
    })  # fmt: skip
    names = with_context((feature,))
    return say(
        feature, Payment(10.0, dict(zip(names, view(table, 7, names).values[-1].tolist(), strict=True)))
    )


@pytest.mark.parametrize("a_day", [60.0, 2_400.0])
@pytest.mark.parametrize("label", ["1h", "1d", "7d"])
def test_a_steady_pace_is_told_as_the_usual_one(label: str, a_day: float) -> None:
    found = {f"merchant_count_{one}": steady(a_day, one) for one in (label, "7d", "30d")}
    said = say(f"merchant_count_{label}", Payment(10.0, found, merchant_id="m-1"))
    numbers = re.fullmatch(
        r"([\d,]+) payments at merchant m-1 in .*; usual is about ([\d,]+) an? (\w+)", said
    )
    assert numbers, said
    told, usual = (float(number.replace(",", "")) for number in numbers.group(1, 2))
    # Both are told as whole numbers.
    assert told - 1 == pytest.approx(usual * HALF_LIVES[label] / UNITS[numbers[3]], rel=0.1, abs=1)


def test_a_busy_merchants_usual_hour_stands_beside_this_one() -> None:
    """Twice the usual 100: that the rest is no burst of the last minutes, the counter does not tell."""
    found = {f"merchant_count_{label}": steady(2_400, label) for label in ("7d", "30d")}
    found["merchant_count_1h"] = 2 * steady(2_400, "1h")
    assert say("merchant_count_1h", Payment(10.0, found, merchant_id="m-1")) == (
        "245 payments at merchant m-1 in about the last hour; usual is about 100 an hour"
    )


def test_a_customer_of_a_payment_a_day_made_8_in_7_days() -> None:
    """7 earlier ones, and this one. A model that looks at the week alone tells them by the month, too."""
    assert told_of("user_count_7d", *range(200, 0, -1)) == (
        "8 payments of this customer in about the last 7 days; usual is one a day"
    )


@pytest.mark.parametrize("days", [3, 14])
@pytest.mark.parametrize(
    "feature", ["user_count_10m", "user_count_1h", "user_count_1d", "user_count_7d", "user_burst_1d"]
)
def test_no_pace_is_called_usual_of_a_customer_who_joined_days_ago(feature: str, days: int) -> None:
    """The month's counter grows for months: after 3 days of 4 payments each it holds what a steady 2 a week would keep."""
    assert "usual" not in told_of(feature, *(place / 4 + 0.1 for place in range(4 * days, -1, -1)))


@pytest.mark.parametrize("feature", ["user_count_10m", "user_count_1d", "user_burst_1h"])
def test_a_first_days_payments_are_not_compared_with_a_pace_that_they_alone_make(feature: str) -> None:
    assert "usual" not in told_of(feature, *(hour / 24 for hour in range(9, 0, -1)))


@pytest.mark.parametrize("feature", ["user_count_10m", "user_count_1h", "user_count_1d", "user_burst_1h"])
def test_a_burst_does_not_make_a_customer_of_a_payment_a_week_look_new(feature: str) -> None:
    """Six payments in a minute outweigh the month in every counter: what counts is what was there before them."""
    burst = [minute / 1_440 for minute in (0.6, 0.5, 0.4, 0.3, 0.2, 0.1)]
    said = told_of(feature, *(7.0 * week + 0.9 for week in range(40, -1, -1)), *burst)
    assert re.match(r"[78] payments of this customer in .*; usual is about 2 a week", said), said


@pytest.mark.parametrize("feature", ["user_count_10m", "user_count_1h", "user_count_1d"])
def test_a_burst_within_a_minute_is_told_whole(feature: str) -> None:
    burst = [minute / 1_440 for minute in (0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)]
    assert told_of(feature, *(day + 0.9 for day in range(200, 0, -1)), *burst).startswith("9 payments")


def test_a_new_customers_payments_are_told_whole() -> None:
    assert told_of("user_count_30d", 0.3, 0.2, 0.1).startswith("4 payments")


def test_what_a_steady_customer_spent_is_told_as_it_was() -> None:
    found = {f"user_count_{label}": steady(2.0, label) for label in ("7d", "30d")}
    found |= {"user_spent_7d": 100.0 * found["user_count_7d"], "amount_to_user_mean": 0.5}
    assert (
        say("user_spent_7d", Payment(50.0, found))
        == "50.00 on top of 1,400.00 spent in about the last 7 days"
    )


@pytest.mark.parametrize("who", ["user", "merchant"])
def test_too_many_payments_are_never_told_as_none(who: str) -> None:
    """What a steady pace adds is taken off, but not the last one that the counter holds."""
    for month in range(101):
        for count in range(31):
            found = {f"{who}_count_1d": count / 10, f"{who}_count_30d": float(month)}
            payment = Payment(10.0, found, merchant_id="m-1")
            if is_notable(f"{who}_count_1d", payment):
                assert "no other" not in say(f"{who}_count_1d", payment)
