"""What a feature's expression may use, so that numpy and Spark compute the same.

Values are numpy arrays in training and Spark columns in serving. Both support + - * / and comparisons;
everything else is an operation of `Ops`. Nulls never reach an expression: a row replaces them
with the values of an empty profile.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraudstream.features.catalogue import (
    COUNTERS,
    ENTITIES,
    LARGEST_AMOUNT,
    LAST_AT,
    NEVER_SECONDS,
    RUNNERS_UP,
    Source,
)

Value = Any
"""A float64 array or a Spark column of doubles; conditions are boolean ones."""

_ROUNDING: Final = 1e-9
"""Remainder after a transaction is subtracted from a sum, as a share of it: smaller remainders are treated as zero."""


class Ops(Protocol):
    """Operations without an operator symbol."""

    def ratio(self, above: Value, below: Value, otherwise: Value) -> Value:
        """The quotient above / below, or `otherwise` if below is not positive (Spark raises an error for x / 0)."""

    def maximum(self, value: Value, other: Value) -> Value:
        """The larger of both."""

    def minimum(self, value: Value, other: Value) -> Value:
        """The smaller of both."""

    def sqrt(self, value: Value) -> Value:
        """Square root."""

    def log1p(self, value: Value) -> Value:
        """Natural logarithm of 1 + value."""

    def exp2(self, value: Value) -> Value:
        """2 to the power of value."""

    def floor(self, value: Value) -> Value:
        """The largest integer not above value, as a float."""

    def number(self, condition: Value) -> Value:
        """1.0 if the condition holds, else 0.0."""

    def choose(self, condition: Value, value: Value, otherwise: Value) -> Value:
        """`value` if the condition holds, else `otherwise`."""

    def differ(self, text: Value, other: Value) -> Value:
        """Whether two string columns differ; false if either is unknown."""

    def known(self, text: Value) -> Value:
        """Whether a string column has a value: neither missing nor empty."""


class Row(Protocol):
    """One transaction (or a column of them) and what was known just before it."""

    @property
    def amount(self) -> Value:
        """Amount, within SMALLEST_AMOUNT and LARGEST_AMOUNT."""

    @property
    def micros(self) -> Value:
        """Time in whole microseconds since 1970 (UTC)."""

    def text(self, field: str) -> Value:
        """A text field."""

    def state(self, entity: str, counter: str) -> Value:
        """A counter of the entity that this row belongs to, decayed to this row's time; 0 if it has none."""

    def idle(self, entity: str) -> Value:
        """Seconds since the entity's last transaction, at most NEVER_SECONDS, which also means never."""


class NumpyOps:
    """The operations on arrays."""

    def ratio(self, above: Value, below: Value, otherwise: Value) -> Value:
        out = np.array(np.broadcast_to(otherwise, np.shape(below)), dtype=np.float64)
        return np.divide(above, below, out=out, where=np.asarray(below) > 0)

    def maximum(self, value: Value, other: Value) -> Value:
        return np.maximum(value, other)

    def minimum(self, value: Value, other: Value) -> Value:
        return np.minimum(value, other)

    def sqrt(self, value: Value) -> Value:
        return np.sqrt(value)

    def log1p(self, value: Value) -> Value:
        return np.log1p(value)

    def exp2(self, value: Value) -> Value:
        return np.exp2(value)

    def floor(self, value: Value) -> Value:
        return np.floor(value)

    def number(self, condition: Value) -> Value:
        return np.asarray(condition).astype(np.float64)

    def choose(self, condition: Value, value: Value, otherwise: Value) -> Value:
        return np.where(condition, value, otherwise)

    def differ(self, text: Value, other: Value) -> Value:
        unlike: pa.Array = pc.fill_null(pc.not_equal(text, other), False)
        return unlike.to_numpy(zero_copy_only=False) & self.known(text) & self.known(other)

    def known(self, text: Value) -> Value:
        given: pa.Array = pc.fill_null(pc.not_equal(text, ""), False)
        return given.to_numpy(zero_copy_only=False)


class JoinedRow:
    """A transaction joined with the profiles of its entities, as in serving.

    `profile(entity, column)` returns the stored value of a column of `shop.profiles`, with `last_at` as microseconds since
    1970: 0 and `counters.NEVER` if there is no profile. A transaction older than the
    profile sees it unchanged: nothing decays backwards.

    `folded` says where the profiles already include this transaction (None: nowhere), because the consumer was faster
    than the scorer. It is subtracted again, so that a first payment from a device stays the first.
    """

    def __init__(  # noqa: PLR0913 - what a row is made of
        self,
        ops: Ops,
        *,
        micros: Value,
        amount: Value,
        text: Callable[[str], Value],
        profile: Callable[[str, str], Value],
        folded: Value | None = None,
    ) -> None:
        self._ops = ops
        self.micros = micros
        self.amount = amount
        self.text = text
        self._profile = profile
        self._folded = folded

    def _elapsed(self, entity: str) -> Value:
        return self._ops.maximum((self.micros - self._profile(entity, LAST_AT)) / 1e6, 0.0)

    def state(self, entity: str, counter: str) -> Value:
        stored, half_life = self._profile(entity, counter), COUNTERS[counter].half_life
        if half_life is None:
            return self._replaced(stored == self.amount, entity, counter, stored)
        stored = self._reduced(entity, stored, COUNTERS[counter].source, half_life)
        return stored * self._ops.exp2(self._elapsed(entity) / -half_life)

    def idle(self, entity: str) -> Value:
        latest = self.micros == self._profile(entity, LAST_AT)
        elapsed = self._replaced(latest, entity, LAST_AT, self._elapsed(entity))
        return self._ops.minimum(elapsed, NEVER_SECONDS)

    def _included(self, entity: str) -> Value:
        """Where the profile includes this transaction.

        Not if it is later than the profile, whatever its offset: its time was too far ahead to be folded, or its
        topic was deleted and recreated.
        """
        return self._folded & (self.micros <= self._profile(entity, LAST_AT))

    def _replaced(self, own: Value, entity: str, column: str, value: Value) -> Value:
        """`value`, or the runner-up of its column if it is this transaction's `own`."""
        if self._folded is None:
            return value
        runner_up = self._profile(entity, RUNNERS_UP[column])
        return self._ops.choose(self._included(entity) & own, runner_up, value)

    def _reduced(self, entity: str, stored: Value, source: Source, half_life: float) -> Value:
        """A sum at the profile's time, minus what this transaction added to it."""
        one = added(self._ops, self.amount, source, entity)
        if self._folded is None or one is None:
            return stored
        faded = self._ops.maximum((self._profile(entity, LAST_AT) - self.micros) / 1e6, 0.0)
        own = one * self._ops.exp2(faded / -half_life)
        left = stored - own
        left = self._ops.choose(left > _ROUNDING * own, left, 0.0)
        return self._ops.choose(self._included(entity), left, stored)


def added(ops: Ops, amount: Value, source: Source, entity: str) -> Value | None:
    """What a transaction of this amount adds to this entity's sums of a source when it is folded; None for its label's."""
    match source:
        case "one":
            return 1.0
        case "amount":
            largest = ENTITIES[entity].largest
            # The amount itself is limited already: elsewhere this would only be work for every row.
            return ops.minimum(amount, largest) if largest < LARGEST_AMOUNT else amount
        case "amount_squared":
            return amount * amount
    return None
