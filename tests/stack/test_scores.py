"""Decisions in PostgreSQL, without Spark: the first of each transaction, alerts, and what is counted of them."""

from typing import Any

import pytest

from fraudstream.settings import PostgresSettings, Settings
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate
from fraudstream.store.offsets import Source
from fraudstream.store.slices import Messages, Outcome, store_slice
from fraudstream.store.targets import select
from samples import decision

SOURCE = Source("scored", "scored-uuid", 0)


@pytest.fixture
def postgres(settings: Settings) -> PostgresSettings:
    migrate(settings.postgres)
    return settings.postgres


def query(postgres: PostgresSettings, sql: str) -> list[tuple[Any, ...]]:
    with connect(postgres) as connection:
        return connection.execute(sql).fetchall()


def store(postgres: PostgresSettings, *values: bytes | None, first: int = 0) -> Outcome:
    messages = Messages(range(first, first + len(values)), [b"u"] * len(values), values)
    return store_slice(postgres, SOURCE, select(["scores"]), {}, [messages])


def test_the_first_decision_of_a_transaction_is_kept(postgres: PostgresSettings) -> None:
    """Whether the second one comes in the same slice, in a later one, or in a replay under a new topic."""
    outcome = store(
        postgres,
        decision(transaction_id="a", risk=0.1),
        decision(transaction_id="a", risk=0.9, flagged=True),
        decision(transaction_id="b"),
    )
    assert (outcome.stored, outcome.duplicates) == ({"scores": 2}, {"scores": 1})
    again = store(postgres, decision(transaction_id="b", risk=0.8), decision(transaction_id="c"), first=3)
    assert (again.stored, again.duplicates) == ({"scores": 1}, {"scores": 1})
    assert query(postgres, "select transaction_id, risk from shop.scores order by 1") == [
        ("a", 0.1), ("b", 0.25), ("c", 0.25),
    ]  # fmt: skip
    assert query(postgres, "select count(*) from shop.alerts") == [(0,)]
