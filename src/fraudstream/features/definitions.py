"""Every feature, defined once: training, serving and docs/features.md all take it from here.

An expression is a function of a row and the operations (`operations.Ops`); which fields and counters
it reads is found by running it once on a row that takes notes. Truth (`is_fraud`, `fraud_scenario`),
names and e-mail cannot be read: a row does not offer them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from fraudstream.errors import InputError
from fraudstream.features.catalogue import COUNTERS, DAY, ENTITIES, HALF_LIVES, HOUR
from fraudstream.features.operations import NumpyOps, Ops, Row, Value
from fraudstream.features.profiles import Events

Expression = Callable[[Row, Ops], Value]

LAST_AT: Final = "last_at"


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of a model."""

    name: str
    meaning: str
    """What it says, in an analyst's words."""
    expression: Expression
    needs: tuple[str, ...]
    """Transaction fields without which it is not available, beyond amount and timestamp."""
    reads: tuple[tuple[str, str], ...]
    """(entity, column of `shop.profiles`) that it looks at."""

    @property
    def uses_labels(self) -> bool:
        """Whether it looks at past verdicts; label-free models must not have it."""
        return any(column in COUNTERS and COUNTERS[column].of_labels for _, column in self.reads)


class _Notes:
    """A row that writes down what is asked of it."""

    def __init__(self) -> None:
        self.fields: list[str] = []
        self.columns: list[tuple[str, str]] = []
        self.amount = np.ones(1)
        self.micros = np.zeros(1, dtype=np.int64)

    def text(self, field: str) -> pa.Array:
        self.fields.append(field)
        return pa.array([""])

    def _note(self, entity: str, column: str) -> Value:
        self.fields.extend(ENTITIES[entity].fields)
        self.columns += [(entity, column), (entity, LAST_AT)]
        return np.zeros(1)

    def state(self, entity: str, counter: str) -> Value:
        if counter not in ENTITIES[entity].counters:
            raise KeyError(f"{entity} keeps no {counter}; add it in catalogue.ENTITIES")
        return self._note(entity, counter)

    def idle(self, entity: str) -> Value:
        return self._note(entity, LAST_AT)


def feature(name: str, meaning: str, expression: Expression) -> Feature:
    """A feature with what its expression reads."""
    notes = _Notes()
    expression(notes, NumpyOps())
    return Feature(
        name,
        meaning,
        expression,
        needs=tuple(dict.fromkeys(notes.fields)),
        reads=tuple(dict.fromkeys(notes.columns)),
    )


# How much a habit weighs against what is usual for everybody, in transactions. One: a second
# transaction of a new customer is judged half by the first and half by everybody's.
_PRIOR = 1.0
# The deviation of amounts before any is seen, as a share of the mean: payments spread about as widely
# as their mean. It also keeps the deviation of a customer who always pays the same away from zero.
_PRIOR_SPREAD = 0.5
# Fraud rate before any label is known, and the labels that it weighs.
_PRIOR_RATE, _PRIOR_LABELS = 0.01, 1.0


def _overall_mean(row: Row, ops: Ops) -> Value:
    """Mean amount of all transactions; before any, this row's own, which makes it a usual one."""
    return ops.ratio(row.state("total", "amount_30d"), row.state("total", "count_30d"), row.amount)


def _mean(row: Row, ops: Ops, entity: str, label: str = "30d") -> Value:
    """Mean amount of an entity, leaning on the overall mean while its history is short."""
    count, amount = row.state(entity, f"count_{label}"), row.state(entity, f"amount_{label}")
    return (amount + _PRIOR * _overall_mean(row, ops)) / (count + _PRIOR)


def _deviation(row: Row, ops: Ops, entity: str, label: str = "30d") -> Value:
    """Standard deviation of an entity's amounts, leaning on a share of the mean; always positive."""
    count, amount = row.state(entity, f"count_{label}"), row.state(entity, f"amount_{label}")
    # Not amount² / count, which could overflow before it is divided.
    squares = row.state(entity, f"amount2_{label}") - amount * ops.ratio(amount, count, 0.0)
    usual = _PRIOR_SPREAD * _mean(row, ops, entity, label)
    return ops.sqrt((ops.maximum(squares, 0.0) + _PRIOR * usual * usual) / (count + _PRIOR))


def _z_score(row: Row, ops: Ops, entity: str) -> Value:
    return (row.amount - _mean(row, ops, entity)) / _deviation(row, ops, entity)


def _burst(row: Row, entity: str, label: str) -> Value:
    """Recent count against what the last month's pace would give; 1 is the usual pace."""
    usual = row.state(entity, "count_30d") * (HALF_LIVES[label] / HALF_LIVES["30d"])
    return (row.state(entity, f"count_{label}") + _PRIOR) / (usual + _PRIOR)


def _share(row: Row, pair: str) -> Value:
    """How much of the customer's history is with this device, place or merchant; ½ without a history."""
    return (row.state(pair, "count_30d") + _PRIOR / 2) / (row.state("user", "count_30d") + _PRIOR)


def _switch(row: Row, ops: Ops, pair: str) -> Value:
    """Whether the customer's last transaction was with another device, place or merchant."""
    return ops.number(row.idle(pair) > row.idle("user"))


def _risk(row: Row, entity: str, label: str) -> Value:
    """Fraud rate among known labels, leaning on the overall rate while they are few."""
    overall = (row.state("total", "fraud_30d") + _PRIOR_LABELS * _PRIOR_RATE) / (
        row.state("total", "labelled_30d") + _PRIOR_LABELS
    )
    fraud, labelled = row.state(entity, f"fraud_{label}"), row.state(entity, f"labelled_{label}")
    return (fraud + _PRIOR_LABELS * overall) / (labelled + _PRIOR_LABELS)


def _hour(row: Row, ops: Ops) -> Value:
    hours = ops.floor(row.micros / (HOUR * 1e6))
    return hours - 24.0 * ops.floor(hours / 24.0)


def _weekday(row: Row, ops: Ops) -> Value:
    days = ops.floor(row.micros / (DAY * 1e6)) + 3.0  # 1970-01-01 was a Thursday
    return days - 7.0 * ops.floor(days / 7.0)


def _counts(entity: str, whose: str, *labels: str) -> list[Feature]:
    spans = {"10m": "10 minutes", "1h": "hour", "1d": "day", "7d": "7 days", "30d": "30 days"}
    return [
        feature(
            f"{entity}_count_{label}",
            f"transactions of {whose} in about the last {spans[label]} (older ones count less)",
            lambda r, _ops, label=label: r.state(entity, f"count_{label}"),  # type: ignore[misc]
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
        feature(
            "user_burst_1h",
            "this customer's pace of the last hour against the usual one",
            lambda r, _: _burst(r, "user", "1h"),
        ),
        feature(
            "user_burst_1d",
            "this customer's pace of the last day against the usual one",
            lambda r, _: _burst(r, "user", "1d"),
        ),
        feature(
            "user_idle",
            "time since this customer's last transaction (logarithm of seconds)",
            lambda r, ops: ops.log1p(r.idle("user")),
        ),
        feature("user_amount_mean", "this customer's usual amount", lambda r, ops: _mean(r, ops, "user")),
        feature(
            "user_amount_deviation",
            "how far this customer's amounts usually spread",
            lambda r, ops: _deviation(r, ops, "user"),
        ),
        feature(
            "amount_to_user_mean",
            "amount as a multiple of this customer's usual one",
            lambda r, ops: r.amount / _mean(r, ops, "user"),
        ),
        feature(
            "amount_to_user_mean_7d",
            "amount as a multiple of this customer's usual one of the last 7 days",
            lambda r, ops: r.amount / _mean(r, ops, "user", "7d"),
        ),
        feature(
            "user_amount_z",
            "amount above this customer's usual one, in this customer's usual deviations",
            lambda r, ops: _z_score(r, ops, "user"),
        ),
        feature(
            "amount_to_user_max",
            "amount as a share of the largest that this customer ever paid",
            lambda r, ops: ops.ratio(r.amount, r.state("user", "amount_max"), 1.0),
        ),
        feature(
            "user_mean_shift_1d",
            "this customer's usual amount of the last day against that of 30 days",
            lambda r, ops: _mean(r, ops, "user", "1d") / _mean(r, ops, "user"),
        ),
        feature(
            "user_mean_shift_7d",
            "this customer's usual amount of the last 7 days against that of 30 days",
            lambda r, ops: _mean(r, ops, "user", "7d") / _mean(r, ops, "user"),
        ),
    ]


def _habit_features() -> list[Feature]:
    return [
        feature(
            "user_device_share",
            "how usual this device is for this customer",
            lambda r, _: _share(r, "user_device"),
        ),
        feature(
            "user_location_share",
            "how usual this place is for this customer",
            lambda r, _: _share(r, "user_location"),
        ),
        feature(
            "user_merchant_share",
            "how usual this merchant is for this customer",
            lambda r, _: _share(r, "user_merchant"),
        ),
        feature(
            "device_switch",
            "this customer's last transaction came from another device",
            lambda r, ops: _switch(r, ops, "user_device"),
        ),
        feature(
            "location_switch",
            "this customer's last transaction was at another place",
            lambda r, ops: _switch(r, ops, "user_location"),
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
        feature(
            "merchant_burst_1h",
            "this merchant's pace of the last hour against the usual one",
            lambda r, _: _burst(r, "merchant", "1h"),
        ),
        feature(
            "merchant_burst_1d",
            "this merchant's pace of the last day against the usual one",
            lambda r, _: _burst(r, "merchant", "1d"),
        ),
        feature(
            "merchant_amount_mean",
            "the usual amount at this merchant",
            lambda r, ops: _mean(r, ops, "merchant"),
        ),
        feature(
            "amount_to_merchant_mean",
            "amount as a multiple of the usual one at this merchant",
            lambda r, ops: r.amount / _mean(r, ops, "merchant"),
        ),
        feature(
            "merchant_amount_z",
            "amount above the usual one at this merchant, in the merchant's usual deviations",
            lambda r, ops: _z_score(r, ops, "merchant"),
        ),
    ]


def _risk_features() -> list[Feature]:
    whose = {"merchant": "at this merchant", "device": "from this device", "user": "of this customer"}
    spans = {"7d": "7 days", "30d": "30 days"}
    return [
        feature(
            f"{entity}_risk_{label}",
            f"share of fraud among the judged transactions {phrase} in about the last {span}",
            lambda r, _ops, entity=entity, label=label: _risk(r, entity, label),  # type: ignore[misc]
        )
        for entity, phrase in whose.items()
        for label, span in spans.items()
    ] + [
        feature(
            f"{entity}_fraud_30d",
            f"known frauds {whose[entity]} in about the last 30 days",
            lambda r, _ops, entity=entity: r.state(entity, "fraud_30d"),  # type: ignore[misc]
        )
        for entity in ("merchant", "user")
    ]


def _plain_features() -> list[Feature]:
    return [
        feature("amount", "amount of the transaction", lambda r, _: r.amount),
        feature("amount_log", "amount on a logarithmic scale", lambda r, ops: ops.log1p(r.amount)),
        feature(
            "amount_to_overall_mean",
            "amount as a multiple of everybody's usual one",
            lambda r, ops: r.amount / _overall_mean(r, ops),
        ),
        feature("hour", "hour of the day (UTC, 0 to 23)", _hour),
        feature("weekday", "day of the week (UTC, Monday is 0)", _weekday),
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

SEED: Final = ("amount", "device_freq", "location_change")
"""The features of the seed system's model."""


def available(transactions: pa.Table) -> tuple[str, ...]:
    """Names of the features whose fields the transactions have.

    A column of nothing but nulls counts as missing. Features that use labels are left out where no label is known.
    """
    events = Events(transactions)
    labelled = events.has("is_fraud")
    return tuple(
        f.name for f in FEATURES.values() if all(map(events.has, f.needs)) and (labelled or not f.uses_labels)
    )


def select(names: Sequence[str]) -> tuple[Feature, ...]:
    """The features of these names, in this order. Raises InputError for an unknown or repeated name."""
    unknown = [name for name in names if name not in FEATURES]
    if unknown:
        raise InputError(
            f"There is no feature {', '.join(unknown)}.", hint="docs/features.md lists every feature."
        )
    if len(set(names)) < len(names):
        raise InputError("A feature is named twice.", hint="Name each feature once.")
    return tuple(FEATURES[name] for name in names)
