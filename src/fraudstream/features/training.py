"""The point-in-time training view: every row with the state just before it.

The order is (timestamp, position in the table): a row sees the rows before it in that order, so of two at
the same microsecond the second sees the first, as in a stream that delivers them in this
order. A label is seen by rows that are strictly later than the time it became known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fraudstream.arrays import Floats, Integers, Truths
from fraudstream.errors import InputError
from fraudstream.features import counters, definitions
from fraudstream.features.catalogue import COUNTERS, DAY, ENTITIES, NEVER_SECONDS, Counter
from fraudstream.features.events import Events, instants
from fraudstream.features.feature import evaluate
from fraudstream.features.profiles import additions
from fraudstream.schema import LABELLED_AT, MESSAGE_AGREES


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Features of transactions; row i belongs to input row i."""

    names: tuple[str, ...]
    values: Floats
    """Shape (rows, features)."""
    order: Integers
    """Input rows in order of time: `values[order]` is from the first transaction to the last."""


def view(
    transactions: pa.Table, label_delay_days: float = 7, names: Sequence[str] | None = None
) -> FeatureTable:
    """The features `names` (by default those of `definitions.DEFAULTS` that are available) of every transaction, just before it.

    Raises InputError for an unknown feature, or if a column that one needs, a timestamp
    or an amount is missing.
    """
    if names is None:
        there = definitions.available(transactions)
        names = [name for name in definitions.DEFAULTS if name in there]
    chosen = definitions.select(names)
    for feature in chosen:
        if missing := [field for field in feature.needs if field not in transactions.column_names]:
            raise InputError(
                f"The feature {feature.name} needs {' and '.join(missing)}, which the transactions do not have.",
                hint="Name its column, or train without this feature.",
            )
    history = History(Events(transactions), label_delay_days)
    values = evaluate(chosen, history, len(history.order), history.order)
    return FeatureTable(tuple(feature.name for feature in chosen), values, history.order)


@dataclass(frozen=True, slots=True)
class _Timeline:
    """The events of one entity, grouped by key and in order of time."""

    sort: Integers
    """The row (in order of time) at each position of the timeline; rows without a key are absent."""
    code: Integers
    micros: Integers
    first: Truths
    """Where a key begins."""
    elapsed: Floats
    """Seconds since the previous event of the key; 0 at its first."""


@dataclass(frozen=True, slots=True)
class _Labels:
    """The labels of one entity, grouped by key and in the order in which they became known."""

    rows: Integers
    """The row (in order of time) of each label."""
    at: Integers
    """The latest transaction among those labelled so far: the time of the merged state."""
    first: Truths
    seen: Integers
    """For each position of the timeline, the last label known by then, or -1."""


class History:
    """Rows in order of time, with what was known just before each: `operations.Row` for training."""

    def __init__(self, events: Events, label_delay_days: float) -> None:
        self._events = events
        self.order: Integers = np.argsort(events.micros, kind="stable")
        self.micros = events.micros[self.order]
        self.amount = events.amount[self.order]
        self._label_delay_days = label_delay_days
        self._timelines: dict[str, _Timeline] = {}
        self._labels: dict[str, _Labels] = {}
        self._factors: dict[tuple[str, float], Floats] = {}
        self._states: dict[tuple[str, str], Floats] = {}

    def text(self, field: str) -> pa.Array:
        """A text field in order of time."""
        return self._events.text(field).take(pa.array(self.order))

    def idle(self, entity: str) -> Floats:
        """Seconds since the entity's last transaction; see `operations.Row`."""
        timeline = self._timeline(entity)
        waited = np.full(len(self.order), NEVER_SECONDS)
        waited[timeline.sort] = np.where(timeline.first, NEVER_SECONDS, timeline.elapsed)
        capped: Floats = np.minimum(waited, NEVER_SECONDS)
        return capped

    def state(self, entity: str, counter: str) -> Floats:
        """A counter just before each row; see `operations.Row`."""
        if (entity, counter) not in self._states:
            known = COUNTERS[counter]
            compute = self._label_state if known.of_labels else self._event_state
            before = np.zeros(len(self.order))
            before[self._timeline(entity).sort] = compute(entity, known)
            self._states[entity, counter] = before
        return self._states[entity, counter]

    def _timeline(self, entity: str) -> _Timeline:
        if entity not in self._timelines:
            code = self._events.keys(*ENTITIES[entity].fields).code[self.order]
            sort = np.argsort(code, kind="stable")
            sort = sort[np.searchsorted(code, 0, sorter=sort) :]
            code, micros = code[sort], self.micros[sort]
            first = counters.begins(code)
            elapsed = np.zeros(len(sort))
            elapsed[1:] = counters.seconds(micros[1:], micros[:-1])
            elapsed[first] = 0.0
            self._timelines[entity] = _Timeline(sort, code, micros, first, elapsed)
        return self._timelines[entity]

    def _factor(self, entity: str, half_life: float) -> Floats:
        """The decay factor since the previous event, 0 at the first of a key."""
        if (entity, half_life) not in self._factors:
            timeline = self._timeline(entity)
            factor = counters.weight(timeline.elapsed, half_life)
            factor[timeline.first] = 0.0
            self._factors[entity, half_life] = factor
        return self._factors[entity, half_life]

    def _event_state(self, entity: str, counter: Counter) -> Floats:
        timeline = self._timeline(entity)
        added = additions(self._events, counter.source, entity)
        value = np.ones(len(timeline.sort)) if added is None else added[self.order][timeline.sort]
        if counter.half_life is None:
            state = counters.scan_largest(value, timeline.code)
            left = (~timeline.first).astype(np.float64)
        else:
            left = self._factor(entity, counter.half_life)
            state = counters.scan(left, value)
        before = np.zeros(len(value))
        before[1:] = state[:-1] * left[1:]
        return before

    def _label_state(self, entity: str, counter: Counter) -> Floats:
        timeline, labels = self._timeline(entity), self._label_line(entity)
        if counter.half_life is None or not len(labels.rows):
            return np.zeros(len(timeline.sort))
        fraud = self._events.fraud[self.order][labels.rows]
        value = fraud if counter.source == "fraud" else np.ones(len(fraud))
        value = value * counters.weight(
            counters.seconds(labels.at, self.micros[labels.rows]), counter.half_life
        )
        factor = np.zeros(len(value))
        factor[1:] = counters.weight(counters.seconds(labels.at[1:], labels.at[:-1]), counter.half_life)
        factor[labels.first] = 0.0
        state = counters.scan(factor, value)
        elapsed = counters.seconds(timeline.micros, labels.at[labels.seen])
        return np.where(
            labels.seen < 0, 0.0, state[labels.seen] * counters.weight(elapsed, counter.half_life)
        )

    def _label_line(self, entity: str) -> _Labels:
        """The labels, each with the position in the order of time from which it is visible."""
        if entity in self._labels:
            return self._labels[entity]
        timeline, rows = self._timeline(entity), np.arange(len(self.order))
        known = known_at(self._events.table, self._events.micros, self._label_delay_days)[self.order]
        # A label is visible from the first row that is strictly later than the time it became known.
        visible = np.searchsorted(self.micros, known, side="right")
        code = np.full(len(rows), -1)
        code[timeline.sort] = timeline.code
        judged = np.flatnonzero(~np.isnan(self._events.fraud[self.order]) & (code >= 0))
        span = len(rows) + 1
        place = code[judged] * span + visible[judged]
        sort = np.argsort(place, kind="stable")
        place, judged = place[sort], judged[sort]
        last = np.searchsorted(place, timeline.code * span + timeline.sort, side="right") - 1
        same = (last >= 0) & (code[judged[last]] == timeline.code) if len(judged) else last >= 0
        newest = np.maximum.accumulate(code[judged] * span + judged) % span
        self._labels[entity] = _Labels(
            rows=judged,
            at=self.micros[newest],
            first=counters.begins(code[judged]),
            seen=np.where(same, last, -1),
        )
        return self._labels[entity]


def known_at(transactions: pa.Table, micros: Integers, label_delay_days: float) -> Integers:
    """When each row's label became known, microseconds since 1970; never before its transaction."""
    known = micros + round(label_delay_days * DAY * 1e6)
    if LABELLED_AT in transactions.column_names:
        recorded = transactions[LABELLED_AT].combine_chunks()
        said = instants(recorded.fill_null(0))
        if MESSAGE_AGREES in transactions.column_names:
            agrees = transactions[MESSAGE_AGREES].fill_null(False).to_numpy()
            said = np.where(agrees, np.minimum(said, known), said)
        known = np.where(recorded.is_valid().to_numpy(zero_copy_only=False), said, known)
    return np.maximum(known, micros)
