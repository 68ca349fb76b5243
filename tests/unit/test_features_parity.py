"""The same events through both ways: profiles kept up in a stream, and the training view."""

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_world import DAY_MICROS, replay, world
from fraudstream.features.catalogue import ENTITIES, LAST_AT, RUNNERS_UP
from fraudstream.features.counters import NEVER
from fraudstream.features.definitions import FEATURES
from fraudstream.features.events import Events
from fraudstream.features.operations import JoinedRow, NumpyOps
from fraudstream.features.profiles import combine, fold, fold_labels
from fraudstream.features.training import view

NAMES = tuple(FEATURES)


class Joined:
    """Profiles as a join would put them beside each transaction."""

    def __init__(self, rows: int) -> None:
        self.columns: dict[tuple[str, str], np.ndarray[Any, Any]] = {}
        for entity in ENTITIES.values():
            self.columns[entity.name, LAST_AT] = np.full(rows, NEVER)
            for column in (*entity.counters, *RUNNERS_UP.values()):
                self.columns[entity.name, column] = np.zeros(rows)

    def put(self, row: int, entity: str, at: int, state: dict[str, float]) -> None:
        """The stored profile that one transaction meets."""
        self.columns[entity, LAST_AT][row] = at
        for column in (*ENTITIES[entity].counters, *RUNNERS_UP.values()):
            self.columns[entity, column][row] = state[column]

    def features(self, table: pa.Table, *, folded: bool = False) -> np.ndarray[Any, Any]:
        """Every feature, as serving works it out from joined profiles, which may hold the rows already."""
        events, ops = Events(table), NumpyOps()
        row = JoinedRow(
            ops,
            micros=events.micros,
            amount=events.amount,
            text=events.text,
            profile=lambda entity, column: self.columns[entity, column],
            folded=np.ones(len(table), np.bool_) if folded else None,
        )
        return np.column_stack([feature.expression(row, ops) for feature in FEATURES.values()])


def assert_close(served: np.ndarray[Any, Any], trained: np.ndarray[Any, Any]) -> None:
    for i, name in enumerate(NAMES):
        np.testing.assert_allclose(served[:, i], trained[:, i], rtol=1e-6, atol=1e-6, err_msg=name)


def test_fifty_thousand_transactions_one_by_one_have_the_features_of_the_training_view() -> None:
    """Every feature to 1e-6; ties in time, null fields, labels at their own times."""
    table = world(50_000, seed=5, users=2_000, merchants=400)
    joined = Joined(len(table))
    for i, (row, ledger) in enumerate(replay(table)):
        for entity in ENTITIES:
            if (profile := ledger.profile(entity, row)) is not None:
                joined.put(i, entity, *profile)
    assert_close(joined.features(table), view(table, names=NAMES).values)


def test_a_transaction_that_was_stored_before_it_is_scored_has_the_features_of_one_that_was_not() -> None:
    """`consume` may be faster than `score`: a first payment from a device stays the first, a pause stays a pause."""
    table = world(20_000, seed=7, users=2_000, merchants=400)
    joined = Joined(len(table))
    for i, (row, ledger) in enumerate(replay(table, folded=True)):
        for entity in ENTITIES:
            if (profile := ledger.profile(entity, row)) is not None:
                joined.put(i, entity, *profile)
    assert_close(joined.features(table, folded=True), view(table, names=NAMES).values)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 39), st.integers(1, 8))
def test_whatever_was_stored_around_it_a_transaction_is_left_out_of_its_own_profiles(
    seed: int, place: int, users: int
) -> None:
    """Earlier and later ones, of the same instant and of the same amount: as if it alone had not been folded."""
    table = world(40, seed=seed, users=users, merchants=3, days=0.01)
    one = table.slice(place, 1)
    others = pa.concat_tables([table.slice(0, place), table.slice(place + 1)])
    found = []
    for held, folded in ((others, False), (table, True)):
        joined, profiles = Joined(1), fold(held)
        for row in _relevant(profiles, one):
            joined.put(0, row["entity"], row[LAST_AT], row)
        found.append(joined.features(one, folded=folded))
    assert_close(*found)


def test_a_transaction_that_its_profiles_cannot_hold_is_not_taken_out_of_them() -> None:
    """One of tomorrow is not folded, whatever its offset says."""
    table = world(40, seed=1, users=1)
    late = table.slice(39).set_column(2, "timestamp", pa.array([2 * 10**15], pa.timestamp("us", "UTC")))
    joined = Joined(1)
    for row in _relevant(fold(table), late):
        joined.put(0, row["entity"], row[LAST_AT], row)
    assert_close(joined.features(late, folded=True), joined.features(late))


def test_profiles_merged_in_micro_batches_have_the_features_of_the_training_view() -> None:
    """The first row after each batch meets profiles that were folded and merged batch by batch."""
    table = world(20_000, seed=6)
    micros = table["timestamp"].cast(pa.int64()).to_numpy()
    recorded = table["labelled_at"].cast(pa.int64()).to_pandas().to_numpy()
    known_at = np.where(np.isnan(recorded), micros + 7 * DAY_MICROS, recorded)
    starts = np.arange(0, len(table), 400)
    heads = table.take(starts)
    joined, profiles, labelled_until = Joined(len(starts)), combine([]), 0
    for i, start in enumerate(starts.tolist()):
        due = np.flatnonzero((known_at < micros[start]) & (known_at >= labelled_until))
        profiles = combine([profiles, fold_labels(table.take(due))])
        labelled_until = micros[start]
        stored = {(row["entity"], row["key"]): row for row in _relevant(profiles, heads.slice(i, 1))}
        for (entity, _), row in stored.items():
            joined.put(i, entity, row[LAST_AT], row)
        profiles = combine([profiles, fold(table.slice(start, 400))])
    assert_close(joined.features(heads), view(table, names=NAMES).values[starts])


def _relevant(profiles: pa.Table, transaction: pa.Table) -> list[dict[str, Any]]:
    """The profiles of one transaction, joined by the key that folding it would give; times in microseconds."""
    wanted = fold(transaction).select(["entity", "key"])
    found = wanted.join(profiles, keys=["entity", "key"], join_type="inner")
    times = found[LAST_AT].cast(pa.int64())
    rows: list[dict[str, Any]] = found.set_column(
        found.column_names.index(LAST_AT), LAST_AT, times
    ).to_pylist()
    return rows
