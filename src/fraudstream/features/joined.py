"""Features of transactions joined with the stored profiles of their entities, in numpy: serving with Python.

The same expressions that `spark.features` converts for Spark, for the rows of a batch: all of them see the stored
profiles, and none sees another one of its batch.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fraudstream.arrays import Floats, Integers, Truths
from fraudstream.features import definitions
from fraudstream.features.catalogue import ENTITIES, LAST_AT
from fraudstream.features.counters import NEVER
from fraudstream.features.events import Events, instants
from fraudstream.features.feature import evaluate
from fraudstream.features.operations import JoinedRow, NumpyOps


def keys(events: Events, entity: str) -> list[str]:
    """The distinct keys of this entity among the events, as in `shop.profiles`."""
    found: list[str] = events.keys(*ENTITIES[entity].fields).text().to_pylist()
    return found


def features(
    events: Events, stored: Mapping[str, pa.Table], names: Sequence[str], folded: Truths | None = None
) -> Floats:
    """Features (events, names); `stored` has `key` and the columns that they read, by entity.

    An event whose entity has no profile gets an empty one; one that is `folded` into `stored` gets the profile without it.
    """
    profiles = _Profiles(events, stored)
    row = JoinedRow(
        NumpyOps(),
        micros=events.micros,
        amount=events.amount,
        text=events.text,
        profile=profiles.column,
        folded=folded if folded is not None and folded.any() else None,
    )
    return evaluate(definitions.select(names), row, len(events))


class _Profiles:
    """Columns of stored profiles, spread over the events."""

    def __init__(self, events: Events, stored: Mapping[str, pa.Table]) -> None:
        self._stored = stored
        self._places = {entity: _places(events, entity, table) for entity, table in stored.items()}
        self._columns: dict[tuple[str, str], NDArray[np.generic]] = {}

    def column(self, entity: str, name: str) -> NDArray[np.generic]:
        """The column of each event's profile, for `operations.JoinedRow`."""
        if (entity, name) not in self._columns:
            column = self._stored[entity][name].combine_chunks()
            values = np.append(instants(column), NEVER) if name == LAST_AT else np.append(column, 0.0)
            self._columns[entity, name] = values[self._places[entity]]
        return self._columns[entity, name]


def _places(events: Events, entity: str, table: pa.Table) -> Integers:
    """For each event the row of its profile; -1, after the last one, if there is none."""
    found = events.keys(*ENTITIES[entity].fields)
    rows = pc.index_in(found.text(), value_set=table["key"].combine_chunks()).fill_null(-1)
    by_key = np.append(rows.to_numpy().astype(np.int64), -1)
    spread: Integers = by_key[found.code]  # -1, a missing field, indexes the -1 at the end
    return spread
