"""The features of training as Spark columns: plain SQL expressions, as real-time mode does not allow Python.

`with_features` expects transactions joined with the stored profiles of their entities, one column
`ENTITY__COLUMN` for each (entity, column) of `definitions.profile_columns`, null where there is no profile.
"""

from collections.abc import Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from fraudstream.features import counters, definitions
from fraudstream.features.catalogue import (
    COUNTERS,
    ENTITIES,
    LARGEST_AMOUNT,
    LAST_AT,
    LAST_GAP,
    SMALLEST_AMOUNT,
)
from fraudstream.features.events import KEY_SEPARATOR
from fraudstream.features.feature import Feature
from fraudstream.features.operations import JoinedRow, Value
from fraudstream.spark.columns import Columns


def column_name(entity: str, column: str) -> str:
    """The name of a profile's column next to a transaction.

    >>> column_name("user", "count_1h")
    'user__count_1h'
    """
    return f"{entity}__{column}"


def key_column(entity: str) -> Column:
    """The key of this entity for a transaction, as `profiles.fold` writes it; null where a field is null."""
    fields = [F.col(field) for field in ENTITIES[entity].fields]
    if len(fields) < 2:  # noqa: PLR2004 - a pair
        return fields[0] if fields else F.lit("")
    first, second = fields
    separator = F.lit(KEY_SEPARATOR)
    return F.concat(F.length(first).cast("string"), separator, first, separator, second)


class Serving:
    """Adds features to rows. Its columns are built once: a stream that plans the same query again reuses them."""

    def __init__(self, names: Sequence[str], folded: Column | None = None) -> None:
        """`folded` says which rows the profiles already include (`operations.JoinedRow`)."""
        chosen = definitions.select(names)
        row, ops = _DecayedRow(), SparkOps()
        self._decayed = Columns(_decayed(chosen, folded))
        self._values = Columns({f.name: f.expression(row, ops).cast("double") for f in chosen})

    def add(self, rows: DataFrame) -> DataFrame:
        """`rows` with one column of doubles for each feature, never null, and the counters they were computed from.

        Rows hold the fields that the features need (`timestamp` as a timestamp) and the prefixed
        profile columns. Counters are decayed in a first projection, as many features read the same ones.
        """
        # A feature may have the name of a field (`amount`): a projection replaces it for later steps, while every
        # expression here still reads the field.
        return self._values.add(self._decayed.add(rows))


_AMOUNT, _MICROS = "__amount", "__micros"


def _state_name(entity: str, column: str) -> str:
    return f"__{entity}__{column}"


def _decayed(chosen: Sequence[Feature], folded: Column | None) -> dict[str, Column]:
    """The columns that `_DecayedRow` reads."""
    ops = SparkOps()
    amount = ops.maximum(ops.minimum(F.col("amount").cast("double"), LARGEST_AMOUNT), SMALLEST_AMOUNT)
    micros = F.unix_micros(F.col("timestamp"))
    row = JoinedRow(ops, micros=micros, amount=amount, text=F.col, profile=_profile, folded=folded)
    columns: dict[str, Column] = {_AMOUNT: amount, _MICROS: micros}
    for feature in chosen:
        for entity, column in feature.reads:
            if column in COUNTERS:
                columns[_state_name(entity, column)] = row.state(entity, column)
            elif column == LAST_GAP:  # read with the time of the latest one, if that is a feature itself
                columns[_state_name(entity, LAST_AT)] = row.idle(entity)
    return columns


def _profile(entity: str, column: str) -> Column:
    """A stored value, or that of an empty profile if there is none."""
    stored = F.col(column_name(entity, column))
    if column == LAST_AT:
        return F.coalesce(F.unix_micros(stored), F.lit(counters.NEVER))
    return F.coalesce(stored, F.lit(0.0))


class _DecayedRow:
    """A row whose counters are already columns; see `operations.Row`."""

    amount = property(lambda _self: F.col(_AMOUNT))
    micros = property(lambda _self: F.col(_MICROS))

    def text(self, field: str) -> Column:
        return F.col(field)

    def state(self, entity: str, counter: str) -> Column:
        return F.col(_state_name(entity, counter))

    def idle(self, entity: str) -> Column:
        return F.col(_state_name(entity, LAST_AT))


def _column(value: Any) -> Column:
    return value if isinstance(value, Column) else F.lit(value)


class SparkOps:
    """The operations on Spark columns; see `operations.Ops`."""

    def ratio(self, above: Value, below: Value, otherwise: Value) -> Value:
        return F.when(below > 0, above / below).otherwise(_column(otherwise))

    def maximum(self, value: Value, other: Value) -> Value:
        return F.greatest(_column(value), _column(other))

    def minimum(self, value: Value, other: Value) -> Value:
        return F.least(_column(value), _column(other))

    def sqrt(self, value: Value) -> Value:
        return F.sqrt(value)

    def log1p(self, value: Value) -> Value:
        return F.log1p(value)

    def exp2(self, value: Value) -> Value:
        return F.pow(F.lit(2.0), value)

    def floor(self, value: Value) -> Value:
        return F.floor(value).cast("double")

    def number(self, condition: Value) -> Value:
        return condition.cast("double")

    def choose(self, condition: Value, value: Value, otherwise: Value) -> Value:
        return F.when(condition, _column(value)).otherwise(_column(otherwise))

    def differ(self, text: Value, other: Value) -> Value:
        return F.coalesce((text != other) & self.known(text) & self.known(other), F.lit(False))

    def known(self, text: Value) -> Value:
        return F.coalesce(text != "", F.lit(False))
