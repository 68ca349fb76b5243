"""Messages that could not be read: kept byte for byte, shown, and replayed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import engine, translated
from fraudstream.store.tables import rejected

FEW = 10
"""Fewer rejected messages say nothing about a topic, also where it has hardly any others."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that could not be read, and why."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    reason: str
    rejected_at: datetime
    replayed_at: datetime | None


def is_flood(rejected: int, read: int) -> bool:
    """Whether so many of the messages that were read are a topic in another format, rather than a sender's mistake.

    >>> is_flood(9, 9), is_flood(10, 20), is_flood(10, 21)
    (False, True, False)
    """
    return rejected >= FEW and 2 * rejected >= read


def count(postgres: PostgresSettings) -> int:
    """The number of rejected messages that were not replayed."""
    with translated(postgres), engine(postgres).connect() as connection:
        return connection.scalar(select(func.count()).where(rejected.c.replayed_at.is_(None))) or 0


def waiting(postgres: PostgresSettings, limit: int | None = None) -> Iterator[Rejected]:
    """The rejected messages that were not replayed, oldest first; read in batches, as there may be millions of large ones."""
    query = (
        select(rejected)
        .where(rejected.c.replayed_at.is_(None))
        .order_by(rejected.c.rejected_at, rejected.c.topic_id, rejected.c.partition, rejected.c.offset)
        .limit(limit)
    )
    with translated(postgres), engine(postgres).connect() as connection:
        for row in connection.execution_options(yield_per=100).execute(query):
            yield Rejected(*row)


def mark_replayed(postgres: PostgresSettings, messages: list[Rejected]) -> None:
    """Mark these as sent to their topic again, so that the next replay skips them."""
    with translated(postgres), engine(postgres).begin() as connection:
        for message in messages:
            connection.execute(
                update(rejected)
                .where(
                    rejected.c.topic_id == message.topic_id,
                    rejected.c.partition == message.partition,
                    rejected.c.offset == message.offset,
                )
                .values(replayed_at=func.now())
            )
