"""Profiles in memory: the features of the training view, one transaction after the other, however they are cut."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_world import Ledger, world
from fraudstream.arrays import Floats, Truths
from fraudstream.features.catalogue import COUNTERS, LARGEST_AMOUNT, LAST_AT, SMALLEST_AMOUNT
from fraudstream.features.counters import NEVER
from fraudstream.features.definitions import FEATURES
from fraudstream.features.memory import Memory
from fraudstream.features.operations import JoinedRow, NumpyOps
from fraudstream.features.profiles import SCHEMA, combine, fold, fold_labels
from fraudstream.features.training import view

NAMES = tuple(FEATURES)


def unlabelled(rows: int, seed: int = 0) -> pa.Table:
    """Transactions whose truth nobody knows yet, with absurd amounts and late ones among them."""
    table = world(rows, seed, users=20, merchants=10)
    amounts = table["amount"].to_numpy().copy()
    amounts[rows // 2] = 1.7e308
    table = table.set_column(table.column_names.index("amount"), "amount", pa.array(amounts))
    return table.drop_columns(["is_fraud", "labelled_at"])


def tables(profiles: pa.Table, memory: Memory) -> dict[str, pa.Table]:
    """Rows of `shop.profiles` as `store.snapshot.profiles` reads them."""
    return {
        entity: profiles.filter(pa.compute.equal(profiles["entity"], entity)).select(["key", *columns])
        for entity, columns in memory.reads.items()
    }


def one_by_one(table: pa.Table, ledger: Ledger, folds: Truths) -> list[list[float]]:
    """The same by plain arithmetic: each row joined with the ledger, as serving joins it with the table."""
    micros, found = table["timestamp"].cast(pa.int64()).to_pylist(), []
    for at, counts, row in zip(micros, folds, table.to_pylist(), strict=True):
        joined = beside(ledger, row, at)
        found.append([float(f.expression(joined, NumpyOps())[0]) for f in FEATURES.values()])
        if counts:
            ledger.add(row, at)
    return found


def beside(ledger: Ledger, row: dict[str, Any], at: int) -> JoinedRow:
    """A row and what the ledger holds of its entities."""

    def profile(entity: str, column: str) -> Floats:
        last_at, state = ledger.profile(entity, row) or (NEVER, {})
        return np.array([last_at if column == LAST_AT else state.get(column, 0.0)])

    amount = max(min(row["amount"], LARGEST_AMOUNT), SMALLEST_AMOUNT)
    return JoinedRow(
        NumpyOps(),
        micros=np.array([at]),
        amount=np.array([amount]),
        text=lambda field: pa.array([row[field]], pa.string()),
        profile=profile,
    )


def test_in_order_of_time_it_is_the_training_view() -> None:
    """4,000 transactions with ties, null fields and absurd amounts, in one batch and in many, to 1e-9."""
    table = unlabelled(4_000)
    expected = view(table, names=NAMES).values
    for step in (4_000, 701, 64):
        memory = Memory(NAMES)
        parts = [memory.features(table.slice(start, step)) for start in range(0, 4_000, step)]
        np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), step=st.integers(1, 90))
def test_arrival_decides_whatever_the_times_are_and_wherever_batches_end(seed: int, step: int) -> None:
    """Stored profiles to begin with (labels in them), late and future transactions, some that do not count."""
    rng = np.random.default_rng(seed)
    past, now = world(60, seed, users=5, merchants=4), unlabelled(90, seed + 1).take(rng.permutation(90))
    folds = rng.random(90) < 0.8
    ledger = Ledger()
    for row, at in zip(past.to_pylist(), past["timestamp"].cast(pa.int64()).to_pylist(), strict=True):
        ledger.add(row, at)
        if row["is_fraud"] is not None:
            ledger.add(row, at, label=True)
    memory = Memory(NAMES)
    memory.remember(tables(stored(ledger), memory))
    parts = [memory.features(now.slice(at, step), folds[at : at + step]) for at in range(0, 90, step)]
    np.testing.assert_allclose(np.concatenate(parts), one_by_one(now, ledger, folds), rtol=1e-9, atol=1e-9)


def stored(ledger: Ledger) -> pa.Table:
    """The ledger as rows of the table."""
    rows = [
        {"entity": entity, "key": key, "last_at": at} | dict.fromkeys(COUNTERS, 0.0) | state
        for (entity, key), (at, state) in ledger.states.items()
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def test_it_begins_where_a_fold_ended() -> None:
    """What the sink would have stored of the first half is what memory goes on with."""
    table = world(2_000, 5)
    past, now = table.slice(0, 1_000), table.slice(1_000).drop_columns(["is_fraud", "labelled_at"])
    names = ("user_count_1d", "merchant_count_30d", "amount_to_user_max", "user_idle", "device_freq")
    memory = Memory(names)
    memory.remember(tables(fold(past), memory))
    whole = table.drop_columns(["is_fraud", "labelled_at"])
    expected = view(whole, names=names).values[1_000:]
    np.testing.assert_allclose(memory.features(now), expected, rtol=1e-9, atol=1e-9)


def test_verdicts_come_with_the_profiles_and_fade_like_them() -> None:
    """Known frauds at a merchant, half as many after another half-life; none at a merchant that nobody knows."""
    past = world(2_000, 6)
    memory = Memory(("merchant_fraud_30d",))
    memory.remember(tables(combine([fold(past), fold_labels(past)]), memory))
    days = [
        datetime(2024, 6, 1, tzinfo=UTC),
        datetime(2024, 7, 1, tzinfo=UTC),
        datetime(2024, 7, 1, tzinfo=UTC),
    ]
    later = pa.table(
        {
            "timestamp": pa.array(days, SCHEMA.field("last_at").type),
            "amount": [1.0, 1.0, 1.0],
            "merchant_id": ["m3", "m3", "unknown"],
        }
    )
    june, july, unknown = memory.features(later)[:, 0]
    assert june > 0.1
    assert july == pytest.approx(june / 2)
    assert unknown == 0


def test_a_field_that_is_null_or_missing_everywhere_has_no_profile() -> None:
    rows = unlabelled(50).drop_columns(["merchant_id"])
    values = Memory(("merchant_count_30d", "user_count_30d")).features(rows)
    assert (values[:, 0] == 0).all()
    assert (values[1:, 1] > 0).any()


@pytest.mark.parametrize("rows", [0, 1])
def test_a_batch_may_be_empty_or_a_single_row(rows: int) -> None:
    assert Memory(NAMES).features(unlabelled(10).slice(0, rows)).shape == (rows, len(NAMES))
