"""Messages that could not be read: kept byte for byte, shown, and replayed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connected
from fraudstream.store.rows import one, rows

FEW = 10
"""Fewer rejected messages say nothing about a topic, also where it has hardly any others."""
BATCH = 100
"""Messages that are read at once: each may have megabytes."""


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
    decision: bool
    """Whether its topic is read for the target `scores`: then it must be a decision, whatever the topic is called."""


def is_flood(rejected: int, read: int) -> bool:
    """Whether so many of the messages that were read are a topic in another format, rather than a sender's mistake.

    >>> is_flood(9, 9), is_flood(10, 20), is_flood(10, 21)
    (False, True, False)
    """
    return rejected >= FEW and 2 * rejected >= read


def count(postgres: PostgresSettings) -> int:
    """The number of rejected messages that were not replayed."""
    with connected(postgres) as connection:
        (found,) = one(connection, "select count(*) from shop.rejected where replayed_at is null")
        return int(found)


_WAITING = """
select topic, topic_id, partition, "offset", key, value, reason, rejected_at, replayed_at,
 split_part(topic_id, ' lost ', 1) in (select topic_id from shop.stream_offsets where target = 'scores') as decision
from shop.rejected
where replayed_at is null"""


def waiting(postgres: PostgresSettings) -> Iterator[Rejected]:
    """The rejected messages that were not replayed, oldest first; read in batches, as there may be millions of large ones."""
    query = f'{_WAITING} order by rejected_at, topic_id, partition, "offset"'
    with (
        connected(postgres) as connection,
        connection.cursor("waiting", row_factory=class_row(Rejected)) as cursor,
    ):
        cursor.itersize = BATCH
        yield from cursor.execute(query)


def newest(postgres: PostgresSettings, limit: int) -> list[Rejected]:
    """At most `limit` of the rejected messages that were not replayed, newest first: whoever was alerted asks for those."""
    query = f'{_WAITING} order by rejected_at desc, topic_id, partition, "offset" desc limit %s'
    with connected(postgres) as connection:
        return rows(connection, Rejected, query, (limit,))


def mark_replayed(postgres: PostgresSettings, messages: list[Rejected]) -> None:
    """Mark these as sent to their topic again, so that the next replay skips them."""
    with connected(postgres) as connection, connection.cursor() as cursor:
        cursor.executemany(
            'update shop.rejected set replayed_at = now() where topic_id = %s and partition = %s and "offset" = %s',
            [(message.topic_id, message.partition, message.offset) for message in messages],
        )
