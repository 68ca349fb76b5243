"""Every feature, defined once: training, serving and docs/features.md all use these definitions.

An expression is a function of a row and the operations (`operations.Ops`); which fields and counters
it reads is found by running it once on a recording row. Truth (`is_fraud`, `fraud_scenario`),
names and e-mail cannot be features: no expression reads them, and a test proves it.
"""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from fraudstream.errors import InputError
from fraudstream.features import expressions
from fraudstream.features.catalogue import SPANS
from fraudstream.features.events import Events
from fraudstream.features.feature import Feature, feature


def _counts(entity: str, whose: str, *labels: str) -> list[Feature]:
    return [
        feature(
            f"{entity}_count_{label}",
            f"transactions of {whose} in about the last {SPANS[label]} (older ones count less)",
            lambda r, _ops, label=label: r.state(entity, f"count_{label}"),  # type: ignore[misc]
        )
        for label in labels
    ]


def _bursts(entity: str, whose: str, *labels: str) -> list[Feature]:
    return [
        feature(
            f"{entity}_burst_{label}",
            f"{whose}'s pace of the last {SPANS[label]} against the usual one",
            lambda r, _ops, label=label: expressions.burst(r, entity, label),  # type: ignore[misc]
        )
        for label in labels
    ]


def _user_features() -> list[Feature]:
    return [
        *_counts("user", "this customer", "10m", "1h", "1d", "7d", "30d"),
        feature(
            "user_spent_1d",
            "what this customer spent in about the last day",
            lambda r, _: r.state("user", "amount_1d"),
        ),
        feature(
            "user_spent_7d",
            "what this customer spent in about the last 7 days",
            lambda r, _: r.state("user", "amount_7d"),
        ),
        *_bursts("user", "this customer", "1h", "1d"),
        feature(
            "user_idle",
            "time since this customer's last transaction (logarithm of seconds)",
            lambda r, ops: ops.log1p(r.idle("user")),
        ),
        feature(
            "user_amount_mean",
            "this customer's usual amount",
            lambda r, ops: expressions.mean(r, ops, "user"),
        ),
        feature(
            "user_amount_deviation",
            "how far this customer's amounts usually spread",
            lambda r, ops: expressions.deviation(r, ops, "user"),
        ),
        feature(
            "amount_to_user_mean",
            "amount as a multiple of this customer's usual one",
            lambda r, ops: r.amount / expressions.mean(r, ops, "user"),
        ),
        feature(
            "amount_to_user_mean_7d",
            "amount as a multiple of this customer's usual one of the last 7 days",
            lambda r, ops: r.amount / expressions.mean(r, ops, "user", "7d"),
        ),
        feature(
            "user_amount_z",
            "amount above this customer's usual one, in this customer's usual deviations",
            lambda r, ops: expressions.z_score(r, ops, "user"),
        ),
        feature(
            "amount_to_user_max",
            "amount as a share of the largest that this customer ever paid",
            lambda r, ops: ops.ratio(r.amount, r.state("user", "amount_max"), 1.0),
        ),
        feature(
            "user_mean_shift_1d",
            "this customer's usual amount of the last day against that of 30 days",
            lambda r, ops: expressions.mean(r, ops, "user", "1d") / expressions.mean(r, ops, "user"),
        ),
        feature(
            "user_mean_shift_7d",
            "this customer's usual amount of the last 7 days against that of 30 days",
            lambda r, ops: expressions.mean(r, ops, "user", "7d") / expressions.mean(r, ops, "user"),
        ),
    ]


def _habit_features() -> list[Feature]:
    return [
        feature(
            "user_device_share",
            "how usual this device is for this customer",
            lambda r, _: expressions.share(r, "user_device"),
        ),
        feature(
            "user_location_share",
            "how usual this place is for this customer",
            lambda r, _: expressions.share(r, "user_location"),
        ),
        feature(
            "user_merchant_share",
            "how usual this merchant is for this customer",
            lambda r, _: expressions.share(r, "user_merchant"),
        ),
        feature(
            "device_switch",
            "this customer's last transaction did not come from this device",
            lambda r, ops: expressions.switch(r, ops, "user_device"),
        ),
        feature(
            "location_switch",
            "this customer's last transaction was not at this place",
            lambda r, ops: expressions.switch(r, ops, "user_location"),
        ),
        feature(
            "location_change",
            "the transaction is not at the customer's home",
            lambda r, ops: ops.number(ops.differ(r.text("location"), r.text("transaction_location"))),
        ),
        feature(
            "device_freq",
            "share of this device among all transactions",
            lambda r, ops: ops.ratio(r.state("device", "count_30d"), r.state("total", "count_30d"), 0.0),
        ),
    ]


def _merchant_features() -> list[Feature]:
    return [
        *_counts("merchant", "this merchant", "1h", "1d", "7d", "30d"),
        *_bursts("merchant", "this merchant", "1h", "1d"),
        feature(
            "merchant_amount_mean",
            "the usual amount at this merchant",
            lambda r, ops: expressions.mean(r, ops, "merchant"),
        ),
        feature(
            "amount_to_merchant_mean",
            "amount as a multiple of the usual one at this merchant",
            lambda r, ops: r.amount / expressions.mean(r, ops, "merchant"),
        ),
        feature(
            "merchant_amount_z",
            "amount above the usual one at this merchant, in the merchant's usual deviations",
            lambda r, ops: expressions.z_score(r, ops, "merchant"),
        ),
    ]


def _risk_features() -> list[Feature]:
    whose = {"merchant": "at this merchant", "device": "from this device", "user": "of this customer"}
    return [
        feature(
            f"{entity}_risk_{label}",
            f"share of fraud among the labelled transactions {phrase} in about the last {SPANS[label]}",
            lambda r, _ops, entity=entity, label=label: expressions.risk(r, entity, label),  # type: ignore[misc]
        )
        for entity, phrase in whose.items()
        for label in ("7d", "30d")
    ] + [
        feature(
            f"{entity}_fraud_30d",
            f"known frauds {whose[entity]} in about the last 30 days",
            lambda r, _ops, entity=entity: r.state(entity, "fraud_30d"),  # type: ignore[misc]
        )
        for entity in whose
    ]


def _plain_features() -> list[Feature]:
    return [
        feature("amount", "amount of the transaction", lambda r, _: r.amount),
        feature("amount_log", "amount on a logarithmic scale", lambda r, ops: ops.log1p(r.amount)),
        feature(
            "amount_to_overall_mean",
            "amount as a multiple of everybody's usual one",
            lambda r, ops: r.amount / expressions.overall_mean(r, ops),
        ),
        feature("hour", "hour of the day (UTC, 0 to 23)", expressions.hour),
        feature("weekday", "day of the week (UTC, Monday is 0)", expressions.weekday),
    ]


FEATURES: Final[dict[str, Feature]] = {
    f.name: f
    for f in (
        *_plain_features(),
        *_user_features(),
        *_habit_features(),
        *_merchant_features(),
        *_risk_features(),
    )
}
"""Every feature by name."""

DEFAULTS: Final = tuple(name for name in FEATURES if name != "device_fraud_30d")
"""What a model may look at unless told otherwise. Frauds of a kind of phone count above all how many people have one:
reasons need the number, a model has the share."""

SEED: Final = ("amount", "device_freq", "location_change")
"""The features of the seed system's model."""


def available(transactions: pa.Table) -> tuple[str, ...]:
    """Names of the features whose fields the transactions have.

    A column with only nulls and empty strings counts as missing. Features that use labels need at least one known label.
    """
    events = Events(transactions)
    labelled = events.has("is_fraud")
    return tuple(
        f.name for f in FEATURES.values() if all(map(events.has, f.needs)) and (labelled or not f.uses_labels)
    )


def select(names: Sequence[str]) -> tuple[Feature, ...]:
    """The features with these names, in this order. Raises InputError for an unknown or repeated name."""
    unknown = [name for name in names if name not in FEATURES]
    if unknown:
        raise InputError(
            f"There is no feature {', '.join(unknown)}.", hint=f"The features are: {', '.join(FEATURES)}."
        )
    if len(set(names)) < len(names):
        raise InputError("A feature is named twice.", hint="Name each feature once.")
    return tuple(FEATURES[name] for name in names)


def profile_columns(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The columns of `shop.profiles` that these features read, by entity."""
    found: dict[str, dict[str, None]] = {}
    for chosen in select(names):
        for entity, column in chosen.reads:
            found.setdefault(entity, {})[column] = None
    return {entity: tuple(columns) for entity, columns in found.items()}
