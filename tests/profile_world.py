"""Transactions for the tests of profiles, stored the way a task stores them, and the profiles that come of it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pyarrow as pa
from psycopg import sql

from fraudstream.features.catalogue import COLUMNS
from fraudstream.features.profiles import SCHEMA
from fraudstream.kafka import Messages
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connect
from fraudstream.store.copy import read_rows
from fraudstream.store.offsets import Source
from fraudstream.store.slices import Outcome, store_slice
from fraudstream.store.targets import TARGETS, select
from samples import message
from slice_world import SOURCE

ALL = tuple(name for name, target in TARGETS.items() if target.topic == "transactions_topic")
START = datetime(2025, 3, 1, tzinfo=UTC)


def transaction(name: str, chance: Random, **changes: Any) -> bytes:
    """A message with an id, on one of the days after START, by one of a few users at one of a few merchants."""
    drawn = {
        "user_id": f"u{chance.randrange(4)}",
        "timestamp": (START + timedelta(seconds=chance.uniform(0, 90 * 86_400))).isoformat(),
        "amount": round(chance.lognormvariate(3, 1), 2),
        "device": chance.choice(["ios", "android"]),
        "merchant_id": chance.choice(["m1", "m2", None]),
        "is_fraud": chance.choice([0, 0, 1, None]),
    }
    return message(transaction_id=name, **drawn | changes)


def messages(values: Sequence[bytes | None], first: int = 0) -> Messages:
    return Messages(range(first, first + len(values)), [b"key"] * len(values), values)


def store(
    postgres: PostgresSettings,
    batches: Sequence[Messages],
    targets: tuple[str, ...] = ALL,
    source: Source = SOURCE,
) -> Outcome:
    return store_slice(postgres, source, select([*targets]), {}, iter(batches))


def decide(postgres: PostgresSettings, *values: bytes, first: int = 0) -> None:
    """Store decisions as `consume scores` does."""
    store(postgres, [messages(values, first)], ("scores",))


def stored_profiles(postgres: PostgresSettings) -> pa.Table:
    with connect(postgres) as connection, connection.cursor() as cursor:
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
        query = sql.SQL('select {} from shop.profiles order by entity collate "C", key collate "C"')
        return read_rows(cursor, query.format(columns), SCHEMA)
