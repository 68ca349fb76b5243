"""What a decision carries next to the features of its model, so that its reasons can be written."""

from collections.abc import Sequence
from typing import Final

from fraudstream.features.definitions import FEATURES, select

_TOLD_WITH: Final = {
    # Everybody's mean is subtracted from the customer's, and the last payment shows which spans have none.
    **dict.fromkeys(("amount_to_user_mean", "user_amount_mean"), ("amount_to_overall_mean",)),
    "user_amount_z": ("amount_to_overall_mean", "amount_to_user_mean"),
    **dict.fromkeys(
        ("amount_to_user_mean_7d", "user_mean_shift_1d", "user_mean_shift_7d"),
        ("amount_to_overall_mean", "amount_to_user_mean", "user_idle"),
    ),
    # The usual pace is shown next to a count, and corrects it for what a steady pace adds; the 7-day count tells whether the
    # history is long enough to have one. Of many payments before a span the count holds several still; the last one tells.
    **{
        f"{entity}_{feature}": (f"{entity}_count_7d", f"{entity}_count_30d", *last)
        for entity, last in (("user", ("user_idle",)), ("merchant", ()))
        for feature in ("count_10m", "count_1h", "count_1d", "count_7d", "burst_1h", "burst_1d")
    },
    "user_count_30d": ("user_idle",),
    # The same holds for sums, and a decayed sum is never exactly zero.
    **{
        f"user_spent_{label}": (
            f"user_count_{label}",
            "user_idle",
            "amount_to_overall_mean",
            "amount_to_user_mean",
        )
        for label in ("1d", "7d")
    },
    # A share does not distinguish a fraud of last week from one two months ago, nor from the default where no payment is
    # labelled; the known frauds do.
    **{
        f"{entity}_risk_{label}": (f"{entity}_fraud_30d",)
        for entity in ("merchant", "device", "user")
        for label in ("7d", "30d")
    },
    # The largest amount alone does not show whether the customer has a history.
    "amount_to_user_max": ("user_count_30d",),
    # Nor does an unchanged device or place; and if the payment is late, the profile's last one came after it.
    **dict.fromkeys(("device_switch", "location_switch"), ("user_count_30d", "user_idle")),
}
"""Features that a feature's reason needs in addition, besides the counts that it reads."""


def with_context(names: Sequence[str]) -> tuple[str, ...]:
    """`names`, followed by what their reasons need: mainly counts, which distinguish a customer's habit from everybody's.

    >>> with_context(("amount", "amount_to_user_mean"))
    ('amount', 'amount_to_user_mean', 'amount_to_overall_mean', 'user_count_30d')
    """
    beside = (also for chosen in select(names) for also in _TOLD_WITH.get(chosen.name, ()))
    found = tuple(dict.fromkeys([*names, *beside]))
    read = (f"{entity}_{column}" for chosen in select(found) for entity, column in chosen.reads)
    return tuple(dict.fromkeys([*found, *(name for name in read if name in FEATURES and "_count_" in name)]))
