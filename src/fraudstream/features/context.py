"""What a decision carries beside the features of its model, so that its reasons can be told."""

from collections.abc import Sequence
from typing import Final

from fraudstream.features.definitions import FEATURES, select

_TOLD_WITH: Final = {
    # Everybody's mean is taken out of the customer's, and a span without a payment is known by the last one.
    **dict.fromkeys(
        ("amount_to_user_mean_7d", "user_mean_shift_1d", "user_mean_shift_7d"),
        ("amount_to_overall_mean", "amount_to_user_mean", "user_idle"),
    ),
    # The usual pace is told beside a count, and what a steady one leaves too much is taken out.
    **{f"user_count_{label}": ("user_count_30d",) for label in ("10m", "1h", "1d", "7d")},
    **{f"merchant_count_{label}": ("merchant_count_30d",) for label in ("1h", "1d", "7d")},
    # So it is with sums, and a faded one is never quite nothing.
    "user_spent_1d": ("user_count_1d", "user_idle", "amount_to_user_mean"),
    "user_spent_7d": ("user_count_7d", "user_idle", "amount_to_user_mean"),
    # A share does not tell a fraud of a week ago from one of two months ago, nor from the share of everybody's payments
    # where none was judged: the known frauds do.
    **{
        f"{entity}_risk_{label}": (f"{entity}_fraud_30d",)
        for entity in ("merchant", "device", "user")
        for label in ("7d", "30d")
    },
    # The largest amount itself does not tell a customer of whom nothing is remembered.
    "amount_to_user_max": ("user_count_30d",),
    # Nor does an unchanged device or place, and of a late payment the profile's last one is none before it.
    **dict.fromkeys(("device_switch", "location_switch"), ("user_count_30d", "user_idle")),
}
"""What a feature's reason needs beyond the feature, and beyond the counts that these look at."""


def with_context(names: Sequence[str]) -> tuple[str, ...]:
    """`names`, and behind them what their reasons are told with: counts above all, which tell a habit from everybody's.

    >>> with_context(("amount", "amount_to_user_mean"))
    ('amount', 'amount_to_user_mean', 'user_count_30d')
    """
    beside = (also for chosen in select(names) for also in _TOLD_WITH.get(chosen.name, ()))
    found = tuple(dict.fromkeys([*names, *beside]))
    read = (f"{entity}_{column}" for chosen in select(found) for entity, column in chosen.reads)
    return tuple(dict.fromkeys([*found, *(name for name in read if name in FEATURES and "_count_" in name)]))
