"""Profiles: folding in any order and any batches gives one result, and hostile texts stay apart."""

from datetime import UTC, datetime
from functools import reduce
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_world import NUMBERS, Ledger, entity_key, world
from fraudstream.errors import InputError
from fraudstream.features import catalogue, profiles
from fraudstream.features.catalogue import COUNTERS, ENTITIES, LAST_GAP
from fraudstream.features.events import INSTANT, pair_key
from fraudstream.features.profiles import combine, fold, fold_labels
from same_profiles import assert_same


def rows(table: pa.Table) -> dict[tuple[str, str], dict[str, object]]:
    return {(row["entity"], row["key"]): row for row in table.to_pylist()}


def test_a_fold_equals_adding_one_transaction_after_the_other() -> None:
    """Every entity and counter of 3,000 transactions and their labels, against plain arithmetic."""
    table, ledger = world(3_000, seed=1), Ledger()
    micros = table["timestamp"].cast(pa.int64()).to_pylist()
    for row, moment in zip(table.to_pylist(), micros, strict=True):
        ledger.add(row, moment)
        if row["is_fraud"] is not None:
            ledger.add(row, moment, label=True)
    folded = rows(combine([fold(table), fold_labels(table)]))
    assert folded.keys() == ledger.states.keys()
    for key, (at, state) in ledger.states.items():
        assert folded[key]["last_at"] == datetime.fromtimestamp(at // 10**6, UTC).replace(
            microsecond=at % 10**6
        )
        for name, value in state.items():
            assert folded[key][name] == pytest.approx(value, rel=1e-9)


@settings(max_examples=20)
@given(st.integers(0, 1_000), st.integers(1, 6), st.randoms())
def test_batches_in_any_order_merge_to_the_fold_of_all(seed: int, batches: int, random: Random) -> None:
    """Late batches, shuffled rows and labels that arrive before or after: one result."""
    table = world(200, seed=seed)
    order = list(range(len(table)))
    random.shuffle(order)
    shuffled = table.take(order)
    size = -(-len(table) // batches)
    parts = [fold(shuffled.slice(begin, size)) for begin in range(0, len(table), size)]
    labels = [fold_labels(shuffled.slice(begin, size)) for begin in range(0, len(table), size)]
    random.shuffle(labels)
    whole = combine([fold(table), fold_labels(table)])
    assert_same(reduce(lambda state, part: combine([state, part]), [*parts, *labels]), whole, NUMBERS)
    # The time of a label that is there before its transaction would pass for that of another transaction.
    mixed = random.sample([*parts, *labels], len(parts) + len(labels))
    assert_same(reduce(lambda state, part: combine([state, part]), mixed), whole, set(NUMBERS) - {LAST_GAP})


def test_rows_are_sorted_and_each_key_stands_once() -> None:
    """The merge statement locks rows in this order, and refuses a key that stands twice."""
    keys = [(row["entity"], row["key"].encode()) for row in fold(world(2_000)).to_pylist()]
    assert keys == sorted(set(keys))


def test_a_row_without_a_field_has_no_profile_of_it() -> None:
    table = world(50).set_column(7, "merchant_id", pa.nulls(50, pa.string())).drop_columns("device")
    assert set(fold(table)["entity"].to_pylist()) == {"total", "user", "user_location"}


def test_labels_leave_transaction_counters_alone_and_the_other_way_round() -> None:
    table = world(500)
    for name, counter in COUNTERS.items():
        untouched = fold(table) if counter.of_labels else fold_labels(table)
        assert not untouched[name].to_numpy().any()


def test_nothing_folds_to_nothing() -> None:
    for empty in (fold(world(0)), fold_labels(world(0)), combine([]), fold_labels(world(9).drop("is_fraud"))):
        assert empty.num_rows == 0
        assert empty.schema == profiles.SCHEMA


def test_an_absurd_amount_leaves_every_counter_finite() -> None:
    table = world(3).set_column(3, "amount", pa.array([1.7e308, 1e200, 5.0]))
    for name in COUNTERS:
        assert np.isfinite(fold(table)[name].to_numpy()).all()


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_two_pairs_of_texts_never_share_a_key(a: str, b: str, c: str, d: str) -> None:
    assert (pair_key(a, b) == pair_key(c, d)) == ((a, b) == (c, d))


def test_vectorised_keys_are_the_documented_ones() -> None:
    """Colons, digits, empty texts and emoji, as `LENGTH:FIRST:SECOND` with LENGTH in characters."""
    table = world(2_000)
    expected = {
        (e, key) for row in table.to_pylist() for e in ENTITIES if (key := entity_key(e, row)) is not None
    }
    assert set(rows(fold(table))) == expected


@pytest.mark.parametrize(
    ("name", "column", "sentence"),
    [
        ("amount", pa.array([1.0, -2.0]), "negative"),
        ("amount", pa.array([1.0, float("nan")]), "not numbers"),
        ("amount", pa.array([1.0, None]), "1 transactions have no amount"),
        ("timestamp", pa.array([None, None], INSTANT), "2 transactions have no timestamp"),
    ],
)
def test_values_that_no_counter_can_take_are_refused(name: str, column: pa.Array, sentence: str) -> None:
    table = world(2)
    with pytest.raises(InputError, match=sentence):
        fold(table.set_column(table.column_names.index(name), name, column))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(InputError, match="no column amount"):
        fold(world(2).drop("amount"))


def test_other_forms_of_the_same_columns_fold_alike() -> None:
    """Nanoseconds, no zone, dictionary and large texts, 0 and 1 for truth."""
    table = world(300)
    other = pa.table(
        {
            **{name: table[name] for name in table.column_names},
            "timestamp": table["timestamp"].cast(pa.timestamp("us")).cast(pa.timestamp("ns")),
            "user_id": table["user_id"].dictionary_encode(),
            "merchant_id": table["merchant_id"].cast(pa.large_string()),
            "is_fraud": table["is_fraud"].cast(pa.int8()),
        }
    )
    assert_same(fold(other), fold(table), NUMBERS)
    assert_same(fold_labels(other), fold_labels(table), NUMBERS)


def test_every_counter_is_a_column_and_stands_once_in_the_merge() -> None:
    statement = catalogue.merge_sql()
    assert tuple(catalogue.COLUMNS) == ("entity", "key", "last_at", *NUMBERS)
    assert profiles.SCHEMA.names == list(catalogue.COLUMNS)
    for name in COUNTERS:
        assert f"excluded.{name}" in statement
