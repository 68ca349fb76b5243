"""Where each running stream stands, for those who watch: written by its driver, beside the stream and not in it."""

from collections.abc import Mapping
from typing import Final

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connected

SILENT_SECONDS: Final = 60.0
"""A running stream says every 5 s where it stands: one that said nothing for so long does not run, or hangs."""

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
    -- one that was silent begins again, and has all its time before it
    else now() end"""
_FORGET = """
delete from shop.stream_progress
where stream = %(stream)s and topic = %(topic)s and partition <> all (%(partitions)s::int[])"""


def record(  # noqa: PLR0913, PLR0917 - a row of the table
    postgres: PostgresSettings,
    stream: str,
    topic: str,
    positions: Mapping[int, int],
    ends: Mapping[int, int],
    rows_per_second: float,
    patience_seconds: float = 60.0,
) -> None:
    """Write down the next offset and the end of each partition; what is not in `positions` is forgotten.

    A stream that speaks, and for `patience_seconds` makes progress in no partition where messages wait, is stuck.

    Raises DatabaseUnreachable, DatabaseError.
    """
    partitions = sorted(positions)
    values = {
        "stream": stream,
        "topic": topic,
        "rows_per_second": rows_per_second,
        "patience_seconds": patience_seconds,
        "silent": SILENT_SECONDS,
        "partitions": partitions,
        "positions": [positions[partition] for partition in partitions],
        # The end was asked for a moment ago, and may have been passed since.
        "ends": [max(ends.get(partition, 0), positions[partition]) for partition in partitions],
    }
    with connected(postgres, brief=True) as connection:
        connection.execute(_RECORD, values)
        connection.execute(_FORGET, values)
