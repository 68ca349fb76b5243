"""The next offset per target and partition, which makes the stream exactly once.

Every message below `next_offset` is in the target, and none at or
above it. The topic is identified by the broker's UUID, so one that was deleted and recreated under
the same name starts at its own zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fraudstream.kafka import Topic
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import Cursor, connected
from fraudstream.store.rows import one


@dataclass(frozen=True, slots=True)
class Source:
    """One partition of one topic."""

    topic: str
    topic_id: str
    partition: int


def lock(cursor: Cursor, target: str, source: Source) -> int:
    """Lock the offset row until the transaction ends, and return `next_offset` (0 for a new partition)."""
    cursor.execute(
        "insert into shop.stream_offsets (target, topic, topic_id, partition, next_offset) values (%s, %s, %s, %s, 0)"
        " on conflict do nothing",
        (target, source.topic, source.topic_id, source.partition),
    )
    (next_offset,) = one(
        cursor,
        "select next_offset from shop.stream_offsets where target = %s and topic_id = %s and partition = %s for update",
        (target, source.topic_id, source.partition),
    )
    return int(next_offset)


def advance(cursor: Cursor, target: str, source: Source, next_offset: int) -> None:
    """Advance the offset, inside the transaction that stored the messages below it."""
    cursor.execute(
        "update shop.stream_offsets set next_offset = %s, updated_at = now()"
        " where target = %s and topic_id = %s and partition = %s",
        (next_offset, target, source.topic_id, source.partition),
    )


def highest(cursor: Cursor, targets: Sequence[str], source: Source) -> int:
    """The highest `next_offset` of these targets that is committed (0 if none has begun); their rows are not locked."""
    (found,) = one(
        cursor,
        "select coalesce(max(next_offset), 0) from shop.stream_offsets"
        " where target = any(%s) and topic_id = %s and partition = %s",
        (list(targets), source.topic_id, source.partition),
    )
    return int(found)


# Functions for the driver of a stream, each in a transaction of its own.


def begin(
    postgres: PostgresSettings, targets: Sequence[str], topic: Topic, first: Mapping[int, int]
) -> dict[tuple[str, int], int]:
    """`next_offset` by target and partition; a target that is new to a partition starts at `first[partition]`."""
    with connected(postgres, brief=True) as connection, connection.cursor() as cursor:
        _begin(cursor, targets, topic, first)
        return _stored(cursor, targets, topic)


def _begin(cursor: Cursor, targets: Sequence[str], topic: Topic, first: Mapping[int, int]) -> None:
    cursor.executemany(
        "insert into shop.stream_offsets (target, topic, topic_id, partition, next_offset) values (%s, %s, %s, %s, %s)"
        " on conflict do nothing",
        [
            (target, topic.name, topic.topic_id, partition, offset)
            for target in targets
            for partition, offset in first.items()
        ],
    )


def _stored(cursor: Cursor, targets: Sequence[str], topic: Topic) -> dict[tuple[str, int], int]:
    """`next_offset` by target and partition."""
    cursor.execute(
        "select target, partition, next_offset from shop.stream_offsets where topic_id = %s and target = any(%s)",
        (topic.topic_id, list(targets)),
    )
    return {(target, partition): next_offset for target, partition, next_offset in cursor.fetchall()}


def stored(postgres: PostgresSettings, targets: Sequence[str], topic: Topic) -> dict[tuple[str, int], int]:
    """`next_offset` by target and partition, of those that have begun."""
    with connected(postgres, brief=True) as connection, connection.cursor() as cursor:
        return _stored(cursor, targets, topic)


def taken_in(postgres: PostgresSettings, target: str, topic: Topic, start: Mapping[int, int]) -> int:
    """How many messages from these offsets on the target already has."""
    found = stored(postgres, [target], topic)
    return sum(max(0, offset - start.get(partition, offset)) for (_, partition), offset in found.items())


def known(postgres: PostgresSettings, target: str, topic: Topic) -> bool:
    """Whether the target has ever read a topic of that name, including one that was deleted since."""
    with connected(postgres, brief=True) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select from shop.stream_offsets where target = %s and topic = %s limit 1", (target, topic.name)
        )
        return cursor.fetchone() is not None


def move(postgres: PostgresSettings, target: str, topic: Topic, partition: int, offset: int) -> None:
    """Go on at `offset`. Only if the operator accepted the loss.

    That is further back if Kafka lost messages that are stored. New ones reuse their offsets, so the rejected ones among
    them get another key.
    """
    source = Source(topic.name, topic.topic_id, partition)
    with connected(postgres, brief=True) as connection, connection.cursor() as cursor:
        if offset < lock(cursor, target, source):
            cursor.execute(
                "update shop.rejected set topic_id = topic_id || ' lost ' || now()"
                ' where topic_id = %s and partition = %s and "offset" >= %s',
                (source.topic_id, source.partition, offset),
            )
        advance(cursor, target, source, offset)


def reach(postgres: PostgresSettings, target: str, topic: Topic, reached: Mapping[int, int]) -> None:
    """Record that every message below these offsets is answered, so that the next start begins there. Never moves back."""
    with connected(postgres, brief=True) as connection, connection.cursor() as cursor:
        _begin(cursor, (target,), topic, reached)
        cursor.executemany(
            "update shop.stream_offsets set next_offset = %(offset)s, updated_at = now() where target = %(target)s"
            " and topic_id = %(topic_id)s and partition = %(partition)s and next_offset < %(offset)s",
            [
                {"offset": offset, "target": target, "topic_id": topic.topic_id, "partition": partition}
                for partition, offset in reached.items()
            ],
        )


def pass_gap(
    postgres: PostgresSettings, topic: Topic, partition: int, seen: Mapping[str, int], end: int
) -> list[str]:
    """Advance targets below `end` over a gap without messages; returns those that moved.

    A target whose offset is not the expected one stays: either a task is moving it, and has its row locked, or the
    database was restored.
    """
    below = {target: offset for target, offset in seen.items() if offset < end}
    if not below:
        return []
    moved = []
    with connected(postgres, brief=True) as connection, connection.cursor() as cursor:
        for target, offset in sorted(below.items()):
            cursor.execute(
                "update shop.stream_offsets o set next_offset = %s, updated_at = now()"
                " from (select target, topic_id, partition from shop.stream_offsets"
                " where target = %s and topic_id = %s and partition = %s and next_offset = %s for update skip locked)"
                " as found where (o.target, o.topic_id, o.partition) = (found.target, found.topic_id, found.partition)",
                (end, target, topic.topic_id, partition, offset),
            )
            if cursor.rowcount > 0:
                moved.append(target)
    return moved
