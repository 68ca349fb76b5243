"""The formulas that several features share. Every denominator is positive, whatever the history."""

from typing import Final

from fraudstream.features.catalogue import DAY, ENTITIES, HALF_LIVES, HOUR
from fraudstream.features.operations import Ops, Row, Value

# Weight of everybody's usual values against a customer's own, in transactions. One: the second
# transaction of a new customer is compared half with the first and half with everybody's.
_PRIOR: Final = 1.0
# The deviation of amounts without a history, as a share of the mean.
# It also keeps the deviation of a customer who always pays the same amount above zero.
_PRIOR_SPREAD: Final = 0.5
# Fraud rate before any label is known, and its weight in labels.
PRIOR_RATE: Final = 0.01
_PRIOR_LABELS: Final = 1.0


def overall_mean(row: Row, ops: Ops) -> Value:
    """Mean amount of all transactions; without any, this row's own, which makes it a usual one."""
    return ops.ratio(row.state("total", "amount_30d"), row.state("total", "count_30d"), row.amount)


def mean(row: Row, ops: Ops, entity: str, label: str = "30d") -> Value:
    """Mean amount of an entity, shrunk towards the overall mean while its history is short."""
    count, amount = row.state(entity, f"count_{label}"), row.state(entity, f"amount_{label}")
    return (amount + _PRIOR * overall_mean(row, ops)) / (count + _PRIOR)


def deviation(row: Row, ops: Ops, entity: str) -> Value:
    """Standard deviation of an entity's amounts, shrunk towards a share of the mean; always positive."""
    count, amount = row.state(entity, "count_30d"), row.state(entity, "amount_30d")
    # Not amount² / count, which could overflow before the division.
    squares = row.state(entity, "amount2_30d") - amount * ops.ratio(amount, count, 0.0)
    usual = _PRIOR_SPREAD * mean(row, ops, entity)
    return ops.sqrt((ops.maximum(squares, 0.0) + _PRIOR * usual * usual) / (count + _PRIOR))


def z_score(row: Row, ops: Ops, entity: str) -> Value:
    """How many deviations the amount is above the entity's mean."""
    return (row.amount - mean(row, ops, entity)) / deviation(row, ops, entity)


def burst(row: Row, entity: str, label: str) -> Value:
    """Recent count relative to the last month's rate; 1 is the usual rate."""
    usual = row.state(entity, "count_30d") * (HALF_LIVES[label] / HALF_LIVES["30d"])
    return (row.state(entity, f"count_{label}") + _PRIOR) / (usual + _PRIOR)


def share(row: Row, pair: str) -> Value:
    """The share of the customer's history with this device, place or merchant; ½ without a history."""
    return (row.state(pair, "count_30d") + _PRIOR / 2) / (row.state("user", "count_30d") + _PRIOR)


def switch(row: Row, ops: Ops, pair: str) -> Value:
    """Whether the customer's last transaction was with another device or place, or an unknown one; not if this one's is unknown."""
    from_another = row.idle(pair) > row.idle("user")
    return ops.number(from_another & ops.known(row.text(ENTITIES[pair].fields[1])))


def risk(row: Row, entity: str, label: str) -> Value:
    """Fraud rate among known labels, shrunk towards the overall rate while they are few."""
    overall = (row.state("total", "fraud_30d") + _PRIOR_LABELS * PRIOR_RATE) / (
        row.state("total", "labelled_30d") + _PRIOR_LABELS
    )
    fraud, labelled = row.state(entity, f"fraud_{label}"), row.state(entity, f"labelled_{label}")
    return (fraud + _PRIOR_LABELS * overall) / (labelled + _PRIOR_LABELS)


def hour(row: Row, ops: Ops) -> Value:
    """Hour of the day in UTC. Plain arithmetic, so that no session's time zone matters."""
    hours = ops.floor(row.micros / (HOUR * 1e6))
    return hours - 24.0 * ops.floor(hours / 24.0)


def weekday(row: Row, ops: Ops) -> Value:
    """Day of the week in UTC, Monday is 0."""
    days = ops.floor(row.micros / (DAY * 1e6)) + 3.0  # 1970-01-01 was a Thursday
    return days - 7.0 * ops.floor(days / 7.0)
