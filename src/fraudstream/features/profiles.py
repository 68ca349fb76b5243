"""Folds transactions and labels into rows of `shop.profiles`.

An event counts at the time of its transaction. A label is such an event, too: it is folded later, when it
becomes known, but with the weight of its transaction's time. So `last_at` stays the time
of the latest transaction, and a fold, a merge and a replay give the same profile in any order. Only `last_gap` needs
labels after their transactions, as they arrive: a label's time that comes first would count as another transaction.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraudstream.arrays import Floats, Integers
from fraudstream.features import counters
from fraudstream.features.catalogue import (
    COLUMNS,
    COUNTERS,
    ENTITIES,
    KEY_COLUMNS,
    LAST_AT,
    LAST_GAP,
    NEGLIGIBLE,
    NEVER_SECONDS,
    RUNNERS_UP,
    Counter,
    Source,
)
from fraudstream.features.events import INSTANT, Events, codes, instants
from fraudstream.features.operations import NumpyOps, added
from fraudstream.schema import arrow_types

SCHEMA = pa.schema([pa.field(name, arrow_types()[kind], nullable=False) for name, kind in COLUMNS.items()])
"""The schema of `fold` and of the table."""


def additions(events: Events, source: Source, entity: str) -> Floats | None:
    """What each event adds to this entity's counters of this source; None means 1."""
    if source == "fraud":
        return events.fraud
    if source == "one":
        return None
    found: Floats | None = added(NumpyOps(), events.amount, source, entity)
    return found


def fold(transactions: pa.Table) -> pa.Table:
    """One row (SCHEMA) for each entity and key in `transactions`: the state of these alone, to be merged.

    Rows are sorted by (entity, key). Labels are not included; `fold_labels` folds them when they are known. The caller
    must exclude transactions in the future: one message of the year 9999 would decay every counter of its device or
    merchant to zero.
    """
    return _fold(transactions, of_labels=False)


def fold_labels(transactions: pa.Table) -> pa.Table:
    """The same for the labels of `transactions` that have become known (`is_fraud` is not null).

    Call it once for each transaction, when its label becomes known; the fields that name the
    entities and the timestamp are those of the transaction itself.
    """
    if "is_fraud" not in transactions.column_names:
        return SCHEMA.empty_table()
    known = transactions.filter(pc.is_valid(transactions["is_fraud"]))
    return _fold(known, of_labels=True)


def correct_labels(before: pa.Table, after: pa.Table) -> pa.Table:
    """Rows that change the labels in profiles from those of `before` to those of `after` when they are merged.

    Both as for `fold_labels`; a corrected transaction is in both, one with its first label only in
    `after`. Counters are sums, so a wrong label is subtracted with the weight with which it was added:
    counters of the result may be negative, and it may only be merged after `before` was.
    """
    wrong = fold_labels(before)
    for name, counter in COUNTERS.items():
        if counter.of_labels:
            at = wrong.schema.get_field_index(name)
            wrong = wrong.set_column(at, SCHEMA.field(name), pc.negate(wrong[name]))
    return combine([wrong, fold_labels(after)])


def _fold(transactions: pa.Table, *, of_labels: bool) -> pa.Table:
    events = Events(transactions)
    if not len(events):
        return SCHEMA.empty_table()
    parts = []
    for entity in sorted(ENTITIES.values(), key=lambda entity: entity.name):
        wanted = [c for c in map(COUNTERS.__getitem__, entity.counters) if c.of_labels == of_labels]
        keys = events.keys(*entity.fields)
        if not wanted or not keys.count:
            continue
        named = keys.code >= 0
        rows = slice(None) if named.all() else named
        group = _Group(events.micros[rows], keys.code[rows], keys.count)
        for counter in wanted:
            group.add(counter, _some(additions(events, counter.source, entity.name), rows))
        if not of_labels:
            group.add_gap(group.age, group.code)
        parts.append(_table(pa.repeat(entity.name, keys.count), keys.text(), group))
    return pa.concat_tables(parts) if parts else SCHEMA.empty_table()


def combine(profiles: Iterable[pa.Table]) -> pa.Table:
    """Merge the states of several tables (SCHEMA), as the database does."""
    rows = pa.concat_tables([SCHEMA.empty_table(), *profiles])
    if not rows.num_rows:
        return rows
    entity, key = (rows[name].combine_chunks().dictionary_encode() for name in ("entity", "key"))
    pairs = pa.array(codes(entity) * len(key.dictionary) + codes(key)).dictionary_encode()
    which = pairs.dictionary.to_numpy()
    group = _Group(instants(rows[LAST_AT].combine_chunks()), codes(pairs), len(which))
    for name, counter in COUNTERS.items():
        runner_up = rows[RUNNERS_UP[name]].to_numpy() if name in RUNNERS_UP else None
        group.add(counter, rows[name].to_numpy(), runner_up)
    # A row without transactions only adds labels: its time is that of one that was counted before.
    counts = rows["count_30d"].to_numpy() > 0
    age, gap = group.age[counts], rows[LAST_GAP].to_numpy()[counts]
    group.add_gap(np.concatenate([age, age + gap]), np.tile(group.code[counts], 2))
    names = entity.dictionary.take(pa.array(which // len(key.dictionary)))
    merged = _table(names, key.dictionary.take(pa.array(which % len(key.dictionary))), group)
    return merged.sort_by([("entity", "ascending"), ("key", "ascending")])


def _some(values: Floats | None, rows: Any) -> Floats | None:
    return None if values is None else values[rows]


class _Group:
    """Events or states of several keys, and their totals per key."""

    def __init__(self, micros: Integers, code: Integers, count: int) -> None:
        self.code = code
        self._count = count
        self.last = counters.latest(micros, code, count)
        """The latest time of each key, to which its counters refer."""
        self.age = counters.seconds(self.last[code], micros)
        """Seconds by which each event is older than the latest one of its key."""
        self._weights: dict[float, Floats] = {}
        self.columns = {LAST_GAP: np.full(count, NEVER_SECONDS)}
        """The columns of `shop.profiles` added so far, by key."""

    def add(self, counter: Counter, value: Floats | None, runner_up: Floats | None = None) -> None:
        """Add a counter, from each event's contribution (None: 1), and the `runner_up` of the largest value if known."""
        if counter.half_life is not None:
            total = counters.fold(self._weight(counter.half_life), value, self.code, self._count)
            total[np.abs(total) < NEGLIGIBLE] = 0.0
            self.columns[counter.name] = total
            return
        values, code = np.ones(len(self.code)) if value is None else value, self.code
        if runner_up is not None:
            values, code = np.concatenate([values, runner_up]), np.tile(code, 2)
        first, second = counters.two_largest(values, code, self._count)
        self.columns |= {counter.name: first, RUNNERS_UP[counter.name]: second}

    def add_gap(self, age: Floats, code: Integers) -> None:
        """Add the time between the latest two transactions, given their ages and keys."""
        _, second = counters.two_largest(-age, code, self._count, none=-NEVER_SECONDS)
        self.columns[LAST_GAP] = -second

    def _weight(self, half_life: float) -> Floats:
        if half_life not in self._weights:
            self._weights[half_life] = counters.weight(self.age, half_life)
        return self._weights[half_life]


def _table(entity: pa.Array, key: pa.Array, group: _Group) -> pa.Table:
    """Rows of SCHEMA in the order of their key; counters that the entity does not have are 0."""
    empty = pa.array(np.zeros(len(group.last)))
    columns: dict[str, Any] = {
        **dict.fromkeys(COLUMNS, empty),
        **dict(zip(KEY_COLUMNS, (entity, key), strict=True)),
        LAST_AT: pa.array(group.last).cast(INSTANT),
        **{name: pa.array(values) for name, values in group.columns.items()},
    }
    order = pc.sort_indices(key)
    return pa.table([columns[name].take(order) for name in SCHEMA.names], schema=SCHEMA)
