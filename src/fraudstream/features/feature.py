"""Features, how their inputs are discovered, and their evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fraudstream.arrays import Floats, Integers
from fraudstream.features.catalogue import COUNTERS, ENTITIES, LAST_AT, RUNNERS_UP
from fraudstream.features.operations import NumpyOps, Ops, Row, Value

Expression = Callable[[Row, Ops], Value]


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of a model."""

    name: str
    meaning: str
    """Its meaning, in an analyst's words."""
    expression: Expression
    needs: tuple[str, ...]
    """Transaction fields that it requires, beyond amount and timestamp."""
    reads: tuple[tuple[str, str], ...]
    """(entity, column of `shop.profiles`) that it reads."""

    @property
    def uses_labels(self) -> bool:
        """Whether it uses past verdicts; label-free models must not have it."""
        return any(column in COUNTERS and COUNTERS[column].of_labels for _, column in self.reads)


class _Notes:
    """A row that records what is read from it."""

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
        self.columns += [(entity, RUNNERS_UP[column])] if column in RUNNERS_UP else []
        return np.zeros(1)

    def state(self, entity: str, counter: str) -> Value:
        if counter not in ENTITIES[entity].counters:
            raise KeyError(f"{entity} has no {counter}; add it in catalogue.ENTITIES")
        return self._note(entity, counter)

    def idle(self, entity: str) -> Value:
        return self._note(entity, LAST_AT)


def feature(name: str, meaning: str, expression: Expression) -> Feature:
    """A feature, with the inputs that its expression reads."""
    notes = _Notes()
    expression(notes, NumpyOps())
    return Feature(
        name,
        meaning,
        expression,
        needs=tuple(dict.fromkeys(notes.fields)),
        reads=tuple(dict.fromkeys(notes.columns)),
    )


def evaluate(chosen: Sequence[Feature], row: Row, rows: int, order: Integers | slice = slice(None)) -> Floats:
    """The values (rows, features) of `rows` transactions; `order` is the output row of each of them."""
    ops, values = NumpyOps(), np.empty((rows, len(chosen)))
    for place, one in enumerate(chosen):
        values[order, place] = one.expression(row, ops)
    return values
