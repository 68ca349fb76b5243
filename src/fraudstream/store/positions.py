"""Where the targets stand, for the driver of a stream."""

from collections.abc import Mapping, Sequence

from fraudstream.kafka import Topic
from fraudstream.settings import PostgresSettings
from fraudstream.store import offsets
from fraudstream.store.rows import connected


def begin(
    postgres: PostgresSettings, targets: Sequence[str], topic: str, topic_id: str, first: Mapping[int, int]
) -> dict[tuple[str, int], int]:
    """`next_offset` by target and partition; a target that is new to a partition starts at `first[partition]`."""
    with connected(postgres) as connection, connection.cursor() as cursor:
        return offsets.begin(cursor, targets, topic, topic_id, first)


def move(postgres: PostgresSettings, target: str, topic_id: str, partition: int, offset: int) -> None:
    """Continue at `offset`, without what lies between. Only where the operator accepted the loss."""
    with connected(postgres) as connection, connection.cursor() as cursor:
        offsets.lock(cursor, target, offsets.Source("", topic_id, partition))
        offsets.advance(cursor, target, offsets.Source("", topic_id, partition), offset)


def known(postgres: PostgresSettings, target: str, topic: str) -> bool:
    """Whether the target has read a topic of this name before, be it one that was deleted since."""
    with connected(postgres) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select from shop.stream_offsets where target = %s and topic = %s limit 1", (target, topic)
        )
        return cursor.fetchone() is not None


def reach(postgres: PostgresSettings, target: str, topic: Topic, reached: Mapping[int, int]) -> None:
    """Every message below these offsets is answered: the next start begins there. Never moves back."""
    with connected(postgres) as connection, connection.cursor() as cursor:
        offsets.begin(cursor, (target,), topic.name, topic.topic_id, reached)
        for partition, offset in reached.items():
            offsets.skip_to(cursor, target, topic.topic_id, partition, offset)


def pass_gap(
    postgres: PostgresSettings, topic: Topic, partition: int, seen: Mapping[str, int], end: int
) -> list[str]:
    """Continue at `end`, as no message lies between: which targets did, of those that stand below.

    One that stands elsewhere than it was seen stays: a task is about to move it, or the database was taken back.
    """
    below = {target: offset for target, offset in seen.items() if offset < end}
    if not below:
        return []
    with connected(postgres) as connection, connection.cursor() as cursor:
        return [
            target
            for target, offset in sorted(below.items())
            if offsets.pass_gap(
                cursor, target, offsets.Source(topic.name, topic.topic_id, partition), offset, end
            )
        ]
