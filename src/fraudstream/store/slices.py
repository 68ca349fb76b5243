"""One Kafka partition's slice of a micro-batch, in one PostgreSQL transaction.

1. lock the offset row of every target (in the order of their names),
2. drop the messages below each target's `next_offset`,
3. decode the rest, one message at a time,
4. COPY rows, and those rejects that no target has passed yet,
5. merge what they add to the profiles and to the hourly sums, once,
6. advance `next_offset`,
7. commit.

Whatever is retried, replayed with other boundaries or run twice concurrently, the tables end up the same.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from fraudstream.decode import Decoded, Reject
from fraudstream.errors import DatabaseUnreachable, StreamError
from fraudstream.kafka import Messages
from fraudstream.settings import PostgresSettings
from fraudstream.store import connection as connections
from fraudstream.store import failures, held, offsets
from fraudstream.store.connection import Cursor
from fraudstream.store.copy import insert_new
from fraudstream.store.intake import Intake
from fraudstream.store.offsets import Source
from fraudstream.store.targets import Target, companions, open_intake

if TYPE_CHECKING:
    import pyarrow as pa

    from fraudstream.rules import Rule


class OffsetHole(StreamError):
    """The slice begins above `next_offset`: the database was restored to an earlier state, for example from a backup."""

    code = "offset_hole"


@dataclass(slots=True)
class Counts:
    """What became of messages, by target where each target has rows of its own."""

    stored: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    reason: str = ""
    """Why the latest of them could not be read."""
    refused: int = 0
    """Refusals: messages that the scorer could not read, which `consume transactions` keeps."""
    unknown_fields: int = 0
    from_future: int = 0
    """Transactions left out of the profiles because they are too far in the future."""

    def add(self, more: "Counts") -> None:
        """Count these, too."""
        self.stored.update(more.stored)
        self.duplicates.update(more.duplicates)
        self.rejected += more.rejected
        self.reason = more.reason or self.reason
        self.refused += more.refused
        self.unknown_fields += more.unknown_fields
        self.from_future += more.from_future


@dataclass(slots=True)
class Outcome(Counts):
    """The result of one slice, for the driver: counts and the next offset by target."""

    next_offsets: dict[str, int] = field(default_factory=dict)


NO_RULES: Mapping[str, "Rule"] = {}


def store_slice(  # noqa: PLR0913 - what one task is told
    postgres: PostgresSettings,
    source: Source,
    targets: Sequence[Target],
    expected: Mapping[str, int],
    batches: Iterable[Messages],
    *,
    rules: Mapping[str, "Rule"] = NO_RULES,
) -> Outcome:
    """Store a slice exactly once, in one transaction. The targets read one topic.

    `expected[target]` is the next offset that the query last saw: Spark's slices continue from there
    without a gap, so a lower one in the table means that the table was restored.
    `rules` are the operator's by name: alerts contain their sentences as reasons.

    Raises DatabaseUnreachable (nothing was stored; try again), OffsetHole, DatabaseError.
    """
    with connections.translated(postgres):
        connection = held.connection(postgres)
        try:
            with (
                failures.curable_cancel(postgres, connection),
                connection.transaction(),
                connection.cursor() as cursor,
            ):
                found = _lock(cursor, source, targets, expected)
                return _store(open_intake(targets, cursor, rules), source, targets, found, batches)
        except (psycopg.Error, DatabaseUnreachable):
            held.close(postgres)
            raise


def _lock(
    cursor: Cursor, source: Source, targets: Sequence[Target], expected: Mapping[str, int]
) -> dict[str, int]:
    """Lock and return the next offset of each target until the transaction ends. Raises OffsetHole."""
    # Every transaction locks its offset rows in the order of their names, so there are no deadlocks.
    names = sorted(target.name for target in targets)
    found = {name: offsets.lock(cursor, name, source) for name in names}
    for name, next_offset in found.items():
        if next_offset < expected.get(name, 0):
            raise OffsetHole(
                f"Target {name} is at offset {next_offset} of {source.topic}/{source.partition}, but was seen at"
                f" {expected[name]}: the database was restored, for example from a backup.",
                hint="The stream resumes at the stored offset automatically; nothing is lost.",
            )
    return found


def _store(
    intake: Intake,
    source: Source,
    targets: Sequence[Target],
    found: Mapping[str, int],
    batches: Iterable[Messages],
) -> Outcome:
    outcome = Outcome(next_offsets=dict(found))
    for batch in batches:
        fresh = batch.since(min(outcome.next_offsets.values()))
        if fresh.offsets:
            decoded = intake.decode(fresh.values)
            _write(intake, targets, fresh, decoded, outcome)
            if decoded.rejects:
                passed = offsets.highest(intake.cursor, companions(targets[0].name), source)
                new = _unpassed(passed, fresh, decoded.rejects)
                rows = _reject_rows(source, fresh, new)
                outcome.rejected += insert_new(intake.cursor, "rejected", rows, "offset").num_rows
                outcome.reason = new[-1].reason if new else outcome.reason
            outcome.refused += decoded.refused
            outcome.unknown_fields += decoded.unknown_fields
    intake.finish()
    outcome.from_future = intake.from_future
    for name, next_offset in outcome.next_offsets.items():
        if next_offset > found[name]:
            offsets.advance(intake.cursor, name, source, next_offset)
    return outcome


def _write(
    intake: Intake, targets: Sequence[Target], messages: Messages, decoded: Decoded, outcome: Outcome
) -> None:
    """Give each target the rows that it does not have yet."""
    end = messages.offsets[-1] + 1
    for target in targets:
        next_offset = outcome.next_offsets[target.name]
        if next_offset < end:
            rows = _rows_since(decoded, messages.offsets, next_offset)
            stored, duplicates = intake.write(target.name, rows)
            outcome.stored[target.name] += stored
            outcome.duplicates[target.name] += duplicates
            outcome.next_offsets[target.name] = end


def _rows_since(decoded: Decoded, message_offsets: Sequence[int], next_offset: int) -> "pa.Table":
    """The decoded rows of messages at `next_offset` or above."""
    positions = decoded.positions
    start = next((i for i, at in enumerate(positions) if message_offsets[at] >= next_offset), len(positions))
    return decoded.rows.slice(start)


def _unpassed(passed: int, messages: Messages, rejects: Sequence[Reject]) -> list[Reject]:
    """The rejects at or above `passed`, the highest offset of any target of the topic.

    They belong to no target: whichever comes first stores them. One that comes later, or is started for the first time,
    would bring back those that `forget` deleted since.

    The other targets' offsets need no lock. One that is read is committed, and so are the rejects below it: each was stored
    by the transaction that passed it, unless that had read an offset above it, of which the same is true. What another
    transaction is still storing lies at or above its committed offset, so both insert it, whether that one commits or
    fails: the second insert waits for its end.
    """
    return [reject for reject in rejects if messages.offsets[reject.position] >= passed]


def _reject_rows(source: Source, messages: Messages, rejects: Sequence[Reject]) -> "pa.Table":
    import pyarrow as pa

    count, at = len(rejects), [reject.position for reject in rejects]
    return pa.table(
        {
            "topic": pa.array([source.topic] * count, pa.string()),
            "topic_id": pa.array([source.topic_id] * count, pa.string()),
            "partition": pa.array([source.partition] * count, pa.int32()),
            "offset": pa.array([messages.offsets[i] for i in at], pa.int64()),
            "key": pa.array([messages.keys[i] for i in at], pa.binary()),
            "value": pa.array([messages.values[i] for i in at], pa.binary()),
            "reason": pa.array([reject.reason for reject in rejects], pa.string()),
        }
    )
