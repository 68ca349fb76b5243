"""The position of each running stream, for monitoring: written by its driver, outside the stream's transactions."""

from typing import TYPE_CHECKING, Final

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connected

if TYPE_CHECKING:
    from fraudstream.metrics import Standing

SILENT_SECONDS: Final = 60.0
"""A running stream reports every 5 s: after this long without a report it does not run, or hangs."""

_RECORD = """
insert into shop.stream_progress as p
  (stream, topic, partition, next_offset, end_offset, rows_per_second, moved_at, patience_seconds)
select %(stream)s, %(topic)s, partition, next_offset, end_offset, %(rows_per_second)s, now(), %(patience_seconds)s
from unnest(%(partitions)s::int[], %(positions)s::bigint[], %(ends)s::bigint[]) as n (partition, next_offset, end_offset)
on conflict (stream, topic, partition) do update set next_offset = excluded.next_offset,
  end_offset = excluded.end_offset, rows_per_second = excluded.rows_per_second, updated_at = now(),
  patience_seconds = excluded.patience_seconds, moved_at = case
    when p.next_offset = excluded.next_offset and excluded.end_offset > excluded.next_offset
      and p.updated_at > now() - make_interval(secs => %(silent)s) then coalesce(p.moved_at, now())
    -- a stream that was silent starts again with all of its patience
    else now() end"""
_FORGET = """
delete from shop.stream_progress
where stream = %(stream)s and topic = %(topic)s and partition <> all (%(partitions)s::int[])"""


def record(
    postgres: PostgresSettings, stream: str, standing: "Standing", patience_seconds: float = 60.0
) -> None:
    """Record where a stream stands; partitions that it no longer has are deleted.

    A stream is stuck if it reports but for `patience_seconds` makes no progress in any partition with waiting messages.

    Raises DatabaseUnreachable, DatabaseError.
    """
    partitions = sorted(standing.reached)
    values = {
        "stream": stream,
        "topic": standing.topic,
        "rows_per_second": standing.rows_per_second,
        "patience_seconds": patience_seconds,
        "silent": SILENT_SECONDS,
        "partitions": partitions,
        "positions": [standing.reached[partition] for partition in partitions],
        "ends": [standing.end(partition) for partition in partitions],
    }
    with connected(postgres, brief=True) as connection:
        connection.execute(_RECORD, values)
        connection.execute(_FORGET, values)
