"""The one number that makes the stream exactly once.

For a target and a partition: every message below `next_offset` is in the target, and none at or
above it. The topic is named by the broker's UUID, so one that was deleted and made again under
the same name starts at its own zero.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

Cursor = psycopg.Cursor[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Source:
    """One partition of one topic."""

    topic: str
    topic_id: str
    partition: int


def lock(cursor: Cursor, target: str, source: Source) -> int:
    """Hold the offset row until the transaction ends, and return `next_offset` (0 for a new partition)."""
    cursor.execute(
        "insert into shop.stream_offsets (target, topic, topic_id, partition, next_offset) values (%s, %s, %s, %s, 0)"
        " on conflict do nothing",
        (target, source.topic, source.topic_id, source.partition),
    )
    cursor.execute(
        "select next_offset from shop.stream_offsets where target = %s and topic_id = %s and partition = %s for update",
        (target, source.topic_id, source.partition),
    )
    row = cursor.fetchone()
    assert row is not None, "the row was inserted or found above"  # noqa: S101 - narrows the type
    return int(row[0])


def advance(cursor: Cursor, target: str, source: Source, next_offset: int) -> None:
    """Move on, inside the transaction that stored the messages below."""
    cursor.execute(
        "update shop.stream_offsets set next_offset = %s, updated_at = now()"
        " where target = %s and topic_id = %s and partition = %s",
        (next_offset, target, source.topic_id, source.partition),
    )


def read(cursor: Cursor, targets: Iterable[str], topic_id: str) -> dict[tuple[str, int], int]:
    """`next_offset` of every target and partition that has one."""
    cursor.execute(
        "select target, partition, next_offset from shop.stream_offsets where topic_id = %s and target = any(%s)",
        (topic_id, list(targets)),
    )
    return {(target, partition): next_offset for target, partition, next_offset in cursor.fetchall()}


def begin(
    cursor: Cursor, targets: Iterable[str], topic: str, topic_id: str, first: Mapping[int, int]
) -> dict[tuple[str, int], int]:
    """Write the first offset of each partition where a target has none yet, and return all of them.

    `first` holds the first offset that the broker still has, by partition.
    """
    names = list(targets)
    cursor.executemany(
        "insert into shop.stream_offsets (target, topic, topic_id, partition, next_offset) values (%s, %s, %s, %s, %s)"
        " on conflict do nothing",
        [
            (target, topic, topic_id, partition, offset)
            for target in names
            for partition, offset in first.items()
        ],
    )
    return read(cursor, names, topic_id)


def skip_to(cursor: Cursor, target: str, topic_id: str, partition: int, offset: int) -> None:
    """Continue at `offset` or later; a place that is further on stays."""
    cursor.execute(
        "update shop.stream_offsets set next_offset = %s, updated_at = now()"
        " where target = %s and topic_id = %s and partition = %s and next_offset < %s",
        (offset, target, topic_id, partition, offset),
    )


def pass_gap(cursor: Cursor, target: str, source: Source, seen: int, end: int) -> bool:
    """Continue at `end` where the place is the one that was `seen`; a row that a task holds is that task's to move."""
    cursor.execute(
        "update shop.stream_offsets o set next_offset = %s, updated_at = now() from (select target, topic_id, partition"
        " from shop.stream_offsets where target = %s and topic_id = %s and partition = %s and next_offset = %s"
        " for update skip locked) as found where (o.target, o.topic_id, o.partition)"
        " = (found.target, found.topic_id, found.partition)",
        (end, target, source.topic_id, source.partition, seen),
    )
    return cursor.rowcount > 0
