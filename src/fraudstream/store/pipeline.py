"""The streams themselves: how far they are, how fast they decide, and what could not be read."""

from dataclasses import dataclass
from datetime import datetime

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import Connection, connected
from fraudstream.store.progress import SILENT_SECONDS
from fraudstream.store.rows import rows

COUNTED = 10_000
"""Newest rejected messages whose reasons are counted; a flood of millions must not hold up the page."""
LISTED = 50
SHOWN_BYTES = 600
"""Of a rejected message, from its beginning: the messages may be megabytes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a stream stands in one partition, as it said last."""

    stream: str
    topic: str
    partition: int
    next_offset: int
    end_offset: int
    """As whoever reads this topic saw it last: a stream that ended does not see what came since."""
    rows_per_second: float
    """Of the whole stream, as it said last."""
    updated_at: datetime
    age_seconds: float
    """Since then, by the clock of the database."""
    still_seconds: float | None = None
    """Since it last made progress, or had nothing to do; None where a version wrote it that did not say."""
    patience_seconds: float | None = None
    """How long it may take before it is stuck, as the stream says itself: pauses are its own."""

    @property
    def runs(self) -> bool:
        """Whether it spoke lately."""
        return self.age_seconds <= SILENT_SECONDS

    @property
    def pace(self) -> float:
        """Rows a second of the whole stream; none where it does not run."""
        return self.rows_per_second if self.runs else 0.0

    @property
    def is_stuck(self) -> bool:
        """Whether it speaks, messages wait, and it has made no progress for longer than it may."""
        still, patience = self.still_seconds, self.patience_seconds
        return self.runs and self.lag > 0 and still is not None and patience is not None and still > patience

    @property
    def lag(self) -> int:
        """Messages that wait for this stream."""
        if self.end_offset >= self.next_offset:
            return self.end_offset - self.next_offset
        # A running one is ahead of what the others saw. For one that ended the topic was made anew: all of it waits.
        return 0 if self.runs else self.end_offset


@dataclass(frozen=True, slots=True)
class LatencyMinute:
    """From a transaction's entry into Kafka to its decision, in one minute."""

    minute: datetime
    decisions: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class RejectedPreview:
    """A message that could not be read: where it was, why, and its first bytes."""

    topic: str
    partition: int
    offset: int
    rejected_at: datetime
    replayed_at: datetime | None
    reason: str
    size: int | None
    """Bytes; None for a tombstone, and where this user of the database may not look."""
    start: bytes | None


@dataclass(frozen=True, slots=True)
class Reason:
    """How often a reason stands among the newest rejected messages."""

    reason: str
    count: int
    waiting: int
    """Not sent to their topic again."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything at one moment."""

    progress: list[Progress]
    latency: list[LatencyMinute]
    reasons: list[Reason]
    refused: list[RejectedPreview]
    may_read_messages: bool
    """Whether this user of the database may see what rejected messages hold."""


# The furthest end that was said within a minute of the last word about a partition: ends of before may be those of
# a topic that was deleted since. Through JSON, as a database that is not upgraded yet lacks the last two columns.
PROGRESS = f"""
select stream, topic, partition, next_offset,
  max(end_offset) filter (where updated_at >= last - interval '{SILENT_SECONDS:g} s') over same as end_offset,
  rows_per_second, updated_at, extract(epoch from now() - updated_at)::float8 as age_seconds,
  extract(epoch from now() - (all_of_it ->> 'moved_at')::timestamptz)::float8 as still_seconds,
  (all_of_it ->> 'patience_seconds')::float8 as patience_seconds
from (
  select *, max(updated_at) over (partition by topic, partition) as last, to_jsonb(p) as all_of_it
  from shop.stream_progress as p
) as progress
window same as (partition by topic, partition)
order by stream, topic, partition"""  # noqa: S608 - a constant of ours

# Positions and lengths make every complaint another one.
_REASONS = r"""
select regexp_replace(left(reason, 120), '\d+', '…', 'g') as reason,
  count(*) as count, count(*) filter (where replayed_at is null) as waiting
from (select reason, replayed_at from shop.rejected order by rejected_at desc limit %(counted)s) as newest
group by 1 order by 2 desc, 1"""

_LATENCY = "select minute, decisions, p50_ms, p95_ms, p99_ms from shop.decision_latency order by minute"

_REFUSED = """
select topic, partition, "offset", rejected_at, replayed_at, reason, {size} as size, {start} as start
from shop.rejected order by rejected_at desc, topic, partition, "offset" desc limit %(listed)s"""


def pipeline(postgres: PostgresSettings) -> Pipeline:
    """The state of the streams, the last hour's latency and the newest rejected messages. Raises DatabaseError."""
    with connected(postgres, snapshot=True) as connection:
        may_read = _may_read_messages(connection)
        looks = (
            ("octet_length(value)", "substring(value from 1 for %(shown)s)")
            if may_read
            else ("null::int", "null::bytea")
        )
        refused = _REFUSED.format(size=looks[0], start=looks[1])
        values = {"listed": LISTED, "shown": SHOWN_BYTES, "counted": COUNTED}
        return Pipeline(
            rows(connection, Progress, PROGRESS),
            rows(connection, LatencyMinute, _LATENCY),
            rows(connection, Reason, _REASONS, values),
            rows(connection, RejectedPreview, refused, values),
            may_read,
        )


def _may_read_messages(connection: Connection) -> bool:
    """Readers see no message that could not be read, as it may hold any name."""
    found = connection.execute("select has_column_privilege('shop.rejected', 'value', 'select')").fetchone()
    return found == (True,)
