"""The state of the streams: their progress, the latency of decisions, and rejected messages."""

from dataclasses import dataclass
from datetime import datetime

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import Connection, connected
from fraudstream.store.progress import SILENT_SECONDS
from fraudstream.store.rows import rows

COUNTED = 10_000
"""Number of newest rejected messages whose reasons are counted: a flood of millions must not slow down the page."""
LISTED = 50
SHOWN_BYTES = 600
"""Bytes shown of a rejected message, which may have megabytes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The last reported position of a stream in one partition."""

    stream: str
    topic: str
    partition: int
    next_offset: int
    end_offset: int
    """The latest end that any stream reported for this partition: a stopped stream does not see newer messages."""
    rows_per_second: float
    """Last reported rate of the whole stream."""
    updated_at: datetime
    age_seconds: float
    """Since the report, by the clock of the database."""
    still_seconds: float | None = None
    """Since it last made progress or had nothing to do; None if an older version wrote the row."""
    patience_seconds: float | None = None
    """After how long without progress the stream counts as stuck; each stream reports its own."""

    @property
    def runs(self) -> bool:
        """Whether it reported recently."""
        return self.age_seconds <= SILENT_SECONDS

    @property
    def pace(self) -> float:
        """Rows per second of the whole stream; 0 if it does not run."""
        return self.rows_per_second if self.runs else 0.0

    @property
    def is_stuck(self) -> bool:
        """Whether it reports, messages are waiting, and it has made no progress for longer than its patience."""
        still, patience = self.still_seconds, self.patience_seconds
        return self.runs and self.lag > 0 and still is not None and patience is not None and still > patience

    @property
    def lag(self) -> int:
        """Messages waiting for this stream."""
        if self.end_offset >= self.next_offset:
            return self.end_offset - self.next_offset
        # A running stream may be ahead of the end the others saw. If a stopped one is, the topic was recreated since,
        # and all of it is waiting.
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
    """Bytes; None for a tombstone, or if this database user may not read it."""
    start: bytes | None


@dataclass(frozen=True, slots=True)
class Reason:
    """How often a reason occurs among the newest rejected messages."""

    reason: str
    count: int
    waiting: int
    """Not sent to their topic again."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The whole state at one time."""

    progress: list[Progress]
    latency: list[LatencyMinute]
    reasons: list[Reason]
    refused: list[RejectedPreview]
    may_read_messages: bool
    """Whether this database user may read the contents of rejected messages."""


# The highest end reported within a minute before the last report on a partition: earlier ones may be of a topic that
# was deleted since. Through JSON, as a database that is not upgraded yet lacks the last two columns.
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

ALIKE = r"regexp_replace(left(reason, 120), '\d+', '…', 'g')"
"""A reason without digits, as positions and lengths would make every one unique."""
_REASONS = f"""
select {ALIKE} as reason, count(*) as count, count(*) filter (where replayed_at is null) as waiting
from (select reason, replayed_at from shop.rejected order by rejected_at desc limit %(counted)s) as newest
group by 1 order by 2 desc, 1"""  # noqa: S608 - a constant of ours

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
    """Whether this user may read rejected messages: readers may not, as these may contain any name."""
    found = connection.execute("select has_column_privilege('shop.rejected', 'value', 'select')").fetchone()
    return found == (True,)
