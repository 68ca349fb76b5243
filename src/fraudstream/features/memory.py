"""Profiles in memory: the features of transactions as they arrive, each folded in before the next one.

Does in a single process what `shop.profiles` and its joins do for the live stream: same states, same
features. Transactions are in order of arrival. One that is older than a profile sees it unchanged and is folded
with the weight of its time (`counters`), so the division into batches makes no difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from fraudstream.arrays import Floats, Integers, Truths
from fraudstream.features import counters, definitions
from fraudstream.features.catalogue import COUNTERS, ENTITIES, LAST_AT, NEGLIGIBLE, NEVER_SECONDS, Counter
from fraudstream.features.counters import NEVER
from fraudstream.features.events import Events, instants
from fraudstream.features.feature import evaluate
from fraudstream.features.profiles import additions

FIRST_ROOM: Final = 1024
"""Initial capacity in profiles per entity; it doubles when full."""


class Memory:
    """The profiles of all entities that some features read, and nothing else."""

    def __init__(self, names: Sequence[str]) -> None:
        """Starts empty. Raises InputError for an unknown feature."""
        self._features = definitions.select(names)
        self.reads = definitions.profile_columns(names)
        """Columns of `shop.profiles` by entity, as input of `store.snapshot.profiles`."""
        self._kept = {
            entity: _Kept([COUNTERS[name] for name in columns if name in COUNTERS])
            for entity, columns in self.reads.items()
        }

    def remember(self, profiles: Mapping[str, pa.Table]) -> None:
        """Start with these profiles: for each entity of `reads`, its `key` and the columns named there."""
        for entity, kept in self._kept.items():
            kept.fill(profiles[entity])

    def features(self, transactions: pa.Table, folds: Truths | None = None) -> Floats:
        """Features (rows, names) of each transaction just before it, in order of arrival; then folds it in.

        `folds` says which of them count for later ones (all by default). Columns as for `Events`.
        Raises InputError if a timestamp or an amount is missing.
        """
        events = Events(transactions)
        counts = np.ones(len(events), np.bool_) if folds is None else folds
        lines = {entity: _Line(events, kept, entity, counts) for entity, kept in self._kept.items()}
        values = evaluate(self._features, _Arrived(events, lines), len(events))
        for line in lines.values():
            line.keep()
        return values


class _Kept:
    """The profiles of one entity: the index of each key, and an array for each counter."""

    def __init__(self, kept: Sequence[Counter]) -> None:
        self.counters = tuple(kept)
        self.place: dict[str, int] = {}
        self.last_at: Integers = np.full(FIRST_ROOM, NEVER, dtype=np.int64)
        self.values: dict[str, Floats] = {counter.name: np.zeros(FIRST_ROOM) for counter in kept}

    def places(self, keys: Sequence[str]) -> Integers:
        """The indices of these keys; new ones get an empty profile."""
        place = self.place
        found = np.array([place.setdefault(key, len(place)) for key in keys], dtype=np.int64)
        if len(place) > len(self.last_at):
            room = max(len(place), 2 * len(self.last_at)) - len(self.last_at)
            self.last_at = np.concatenate([self.last_at, np.full(room, NEVER, dtype=np.int64)])
            self.values = {n: np.concatenate([v, np.zeros(room)]) for n, v in self.values.items()}
        return found

    def fill(self, profiles: pa.Table) -> None:
        """Copy the rows of a table: `key`, `last_at` and the counters."""
        places = self.places(profiles["key"].to_pylist())
        self.last_at[places] = instants(profiles[LAST_AT].combine_chunks())
        for name, column in self.values.items():
            column[places] = profiles[name].to_numpy()


class _Line:
    """The events of one entity in a batch, grouped by key and in order of arrival."""

    def __init__(self, events: Events, kept: _Kept, entity: str, folds: Truths) -> None:
        keys = events.keys(*ENTITIES[entity].fields)
        self._events, self._kept, self._entity = events, kept, entity
        self.rows: Integers = np.argsort(keys.code, kind="stable")
        self.rows = self.rows[np.count_nonzero(keys.code < 0) :]
        """Rows of the batch; those without a key are absent."""
        code = keys.code[self.rows]
        self._code = code
        self._first = counters.begins(code)
        self._last = np.append(self._first[1:], [True])[: len(code)]
        self._place = kept.places(keys.text().to_pylist() if keys.count else [])[code]
        self._folds = folds[self.rows]
        micros, start = events.micros[self.rows], kept.last_at[self._place]
        self._at = _running_latest(np.where(self._folds, micros, start), start, code, self._first)
        """Time of the state after each event."""
        before = np.where(self._first, start, np.roll(self._at, 1))
        self.waited = np.maximum(counters.seconds(micros, before), 0.0)
        """Seconds since the state before each event."""
        self._moved = counters.seconds(self._at, before)
        self._late = counters.seconds(self._at, micros)
        self._states: dict[str, tuple[Floats, Floats]] = {}

    def before(self, counter: Counter) -> Floats:
        """The counter just before each event, decayed to its time."""
        return self._state(counter)[0]

    def _state(self, counter: Counter) -> tuple[Floats, Floats]:
        """The counter just before each event, decayed to its time, and just after it."""
        if counter.name not in self._states:
            self._states[counter.name] = self._worked_out(counter)
        return self._states[counter.name]

    def _worked_out(self, counter: Counter) -> tuple[Floats, Floats]:
        start = self._kept.values[counter.name][self._place]
        added = additions(self._events, counter.source, self._entity)
        value = np.ones(len(self.rows)) if added is None else added[self.rows]
        # Known labels came with the profiles; those of these rows are not known yet.
        value = np.zeros(len(value)) if counter.of_labels else np.where(self._folds, value, 0.0)
        if counter.half_life is None:
            after = counters.scan_largest(np.maximum(value, np.where(self._first, start, 0.0)), self._code)
            seen = np.ones(len(value))
        else:
            moved = counters.weight(self._moved, counter.half_life)
            value *= counters.weight(self._late, counter.half_life)
            value[self._first] += (start * moved)[self._first]
            after = counters.scan(np.where(self._first, 0.0, moved), value)
            seen = counters.weight(self.waited, counter.half_life)
        return np.where(self._first, start, np.roll(after, 1)) * seen, after

    def keep(self) -> None:
        """Write back the states after the last event of each key."""
        place = self._place[self._last]
        self._kept.last_at[place] = self._at[self._last]
        for counter in self._kept.counters:
            after = self._state(counter)[1][self._last]
            self._kept.values[counter.name][place] = np.where(np.abs(after) < NEGLIGIBLE, 0.0, after)


def _running_latest(micros: Integers, start: Integers, code: Integers, first: Truths) -> Integers:
    """The latest time so far within each key, including `start`."""
    at = np.maximum(micros, start)
    if len(at) > 1 and ((at[1:] < at[:-1]) & ~first[1:]).any():
        at = counters.scan_largest(at, code).astype(np.int64, copy=False)
    return at


@dataclass(frozen=True)
class _Arrived:
    """A batch with what was known just before each row; see `operations.Row`."""

    events: Events
    lines: Mapping[str, _Line]

    @property
    def amount(self) -> Floats:
        return self.events.amount

    @property
    def micros(self) -> Integers:
        return self.events.micros

    def text(self, field: str) -> pa.Array:
        return self.events.text(field)

    def state(self, entity: str, counter: str) -> Floats:
        return self._spread(entity, self.lines[entity].before(COUNTERS[counter]), 0.0)

    def idle(self, entity: str) -> Floats:
        return np.minimum(self._spread(entity, self.lines[entity].waited, NEVER_SECONDS), NEVER_SECONDS)

    def _spread(self, entity: str, values: Any, otherwise: float) -> Floats:
        whole = np.full(len(self.events), otherwise)
        whole[self.lines[entity].rows] = values
        return whole
