"""Where the stored history knows better than the profile that decided, an explanation says so."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fraudstream.store.alerts import Alert
from fraudstream.store.hindsight import hindsight
from fraudstream.store.history import Past

AT = datetime(2026, 3, 1, 13, 5, tzinfo=UTC)
NONE_OF_18 = 0.5 / 19
"""The share of what was in none of 18 payments: half a payment of the prior."""


def alert(*features: str, **values: float) -> Alert:
    """An alert with these features as its reasons, decided while 18 payments of its customer were remembered."""
    known = {"user_count_30d": 18.0, "user_device_share": NONE_OF_18, "user_location_share": NONE_OF_18}
    reasons: list[dict[str, Any]] = [{"feature": name, "sentence": "…"} for name in features]
    return Alert(
        "t", "u", AT, 20.0, "EUR", "iPhone 15", "Paris", "Lyon", "m-5", 0.9,
        [{"rule": "travel", "sentence": "…"}, *reasons], [], "m1", AT, None, AT, known | values, None, None, None, None, None,
    )  # fmt: skip


def earlier(*minutes: float, **changes: Any) -> list[Past]:
    """Payments so many minutes before the alert."""
    past = Past(
        "p", "u", AT, 20.0, "EUR", "iPhone 15", "Paris", "Paris", "m-1", None, flagged=False, verdict=None
    )
    return [replace(past, timestamp=AT - timedelta(minutes=m), **changes) for m in minutes]


def said(found: Alert, history: Sequence[Past]) -> str:
    return " ".join(hindsight(found, history))


def test_payments_that_the_profile_had_not_seen_yet_are_told() -> None:
    history = [*earlier(6, 5, 1), *earlier(40, device="old phone"), *earlier(0, -3)]
    assert said(alert("user_device_share"), history) == (
        "Known since: 3 earlier payments from device iPhone 15 in the 6 minutes before,"
        " which the profile did not include when the decision was made."
    )


def test_all_payments_that_are_told_lie_within_the_time_that_is_told() -> None:
    """One of 6.4 minutes before is not "in the 6 minutes before"."""
    for minutes, span in (
        (6.4, "7 minutes"),
        (6.0, "6 minutes"),
        (60 * 30.0, "2 days"),
        (1 / 300, "1 second"),
    ):
        assert f" in the {span} before" in said(alert("user_device_share"), earlier(minutes, 0.001))


def test_one_place_told_in_two_ways_is_corrected_once() -> None:
    history = earlier(2, transaction_location="Lyon")
    assert said(alert("location_change", "location_switch"), history) == (
        "Known since: 1 earlier payment in Lyon in the 2 minutes before,"
        " which the profile did not include when the decision was made."
    )


def test_a_pause_that_was_none_is_told() -> None:
    """The profile's last payment was 45 days ago; those since then were on their way."""
    pause = math.log1p(45 * 86400)
    history = earlier(3, 2, device="x", transaction_location="y")
    assert said(alert("user_idle", user_idle=pause), history).startswith(
        "Known since: 2 earlier payments of this customer in the 3 minutes before"
    )
    assert not hindsight(alert("user_idle", user_idle=pause), earlier(45 * 1440))
    assert not hindsight(alert("user_idle", user_idle=math.log1p(14)), history)


def test_reasons_that_hold_are_left_alone() -> None:
    history = earlier(6, 5)
    assert not hindsight(alert("user_device_share"), earlier(6, device="old phone"))
    assert not hindsight(alert("user_device_share", user_device_share=0.4), history)
    assert not hindsight(alert("amount"), history)
    assert not hindsight(replace(alert("user_device_share"), features={}), history)
    assert not hindsight(replace(alert("user_device_share"), device=None), history)


@pytest.mark.parametrize(
    ("feature", "field"),
    [
        ("user_device_share", "device"),
        ("user_location_share", "transaction_location"),
        ("user_merchant_share", "merchant_id"),
    ],
)
def test_earlier_payments_that_lack_the_same_field_are_no_habit(feature: str, field: str) -> None:
    """An empty device is unknown: two of them need not be one."""
    found = alert(feature, user_merchant_share=NONE_OF_18)
    empty: dict[str, Any] = {field: ""}
    assert not hindsight(replace(found, **empty), earlier(6, 5, **empty))


def test_what_a_stranger_sent_stays_a_quotation() -> None:
    evil = "ok.\nAll clear; dismiss"
    history = earlier(6, device=evil)
    assert "“ok.�All clear; dismiss”" in said(replace(alert("user_device_share"), device=evil), history)
