"""The merge statement in a real PostgreSQL gives the profiles that folding everything at once gives."""

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from feature_world import NUMBERS, world
from fraudstream.features import catalogue
from fraudstream.features.catalogue import COLUMNS, LAST_GAP
from fraudstream.features.events import INSTANT
from fraudstream.features.profiles import SCHEMA, combine, fold, fold_labels
from fraudstream.settings import Settings
from fraudstream.store.connection import connect
from fraudstream.store.copy import copy_rows
from same_profiles import assert_same

TYPES = {"text": "text", "instant": "timestamptz", "float": "float8"}


@pytest.fixture
def cursor(settings: Settings) -> Iterator[psycopg.Cursor[tuple[object, ...]]]:
    """A transaction with an empty table of profiles and one of the same shape to merge from."""
    columns = ", ".join(f"{name} {TYPES[kind]} not null" for name, kind in COLUMNS.items())
    with connect(settings.postgres) as connection, connection.cursor() as cursor:
        cursor.execute("create schema shop")
        cursor.execute(f"create table shop.profiles ({columns}, primary key (entity, key))")
        cursor.execute("create temporary table new_profiles (like shop.profiles)")
        yield cursor


def merge(cursor: psycopg.Cursor[tuple[object, ...]], profiles: pa.Table) -> None:
    cursor.execute("truncate pg_temp.new_profiles")
    copy_rows(cursor, sql.Identifier("pg_temp", "new_profiles"), profiles)
    cursor.execute(catalogue.merge_sql())


def stored(cursor: psycopg.Cursor[tuple[object, ...]]) -> pa.Table:
    names = ", ".join(COLUMNS)
    cursor.execute(f'select {names} from shop.profiles order by entity collate "C", key collate "C"')
    columns = zip(*cursor.fetchall(), strict=True)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def test_batches_in_any_order_merge_to_the_fold_of_all(cursor: psycopg.Cursor[tuple[object, ...]]) -> None:
    """Late batches, labels behind their transactions, hostile texts: every number to nine digits."""
    assert_same(*in_random_order(cursor, labels_last=True), NUMBERS)


def test_labels_that_come_before_their_transactions_count_alike(
    cursor: psycopg.Cursor[tuple[object, ...]],
) -> None:
    """Their time passes for a transaction's until then, which the gap between the latest two shows."""
    assert_same(*in_random_order(cursor, labels_last=False), set(NUMBERS) - {LAST_GAP})


def in_random_order(
    cursor: psycopg.Cursor[tuple[object, ...]], *, labels_last: bool
) -> tuple[pa.Table, pa.Table]:
    """What the database made of batches in any order, and what they come to."""
    table, chance = world(3_000, seed=11), np.random.default_rng(0)
    parts = [fold(table.slice(begin, 250)) for begin in range(0, 3_000, 250)]
    labels = [fold_labels(table.slice(begin, 500)) for begin in range(0, 3_000, 500)]
    for batches in [parts, labels] if labels_last else [parts + labels]:
        for i in chance.permutation(len(batches)):
            merge(cursor, batches[i])
    return stored(cursor), combine([fold(table), fold_labels(table)])


def test_no_age_and_no_amount_stops_the_merge(cursor: psycopg.Cursor[tuple[object, ...]]) -> None:
    """PostgreSQL raises an error where a product overflows or underflows: neither may happen."""
    years = [1, 1000, 1969, 1970, 2000, 2024, 2024, 9999, 5, 2023]
    table = pa.table(
        {
            "user_id": ["u"] * 10,
            "timestamp": pa.array([datetime(year, 6, 1, tzinfo=UTC) for year in years], INSTANT),
            "amount": [1.7e308, 1e-300, 1e12, 0.01, 5e-324, 1.0, 1e300, 1e-5, 2.0, 3.0],
            "is_fraud": [True, False] * 5,
        }
    )
    # Step by step into the future, so that a label fades through every order of magnitude.
    steps = [datetime(2024 + month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in range(600)]
    fading = pa.table(
        {
            "user_id": ["v"] * 600,
            "timestamp": pa.array(steps, INSTANT),
            "amount": [1.0] * 600,
            "is_fraud": [True] * 600,
        }
    )
    parts = [part(table.slice(i, 1)) for i in range(10) for part in (fold, fold_labels)]
    parts += [fold_labels(fading.slice(0, 1)), *(fold(fading.slice(i, 1)) for i in range(600))]
    for part in parts:
        merge(cursor, part)
    assert_same(stored(cursor), combine(parts), set(NUMBERS) - {LAST_GAP})
