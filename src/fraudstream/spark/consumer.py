"""Kafka to PostgreSQL: the driver's part. It plans, counts and restarts; no rows pass through it.

The checkpoint is scratch: every start begins at the offsets in PostgreSQL.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from fraudstream import kafka as kafka_clients
from fraudstream.errors import DatabaseUnreachable, FraudstreamError
from fraudstream.kafka import Range, Topic
from fraudstream.logs import get_logger
from fraudstream.metrics import ConsumeMonitor
from fraudstream.rules import Rule
from fraudstream.settings import Settings
from fraudstream.spark import failures, markers, recovery, sink
from fraudstream.spark.batches import BatchSize, Resized
from fraudstream.spark.failures import QueryStopped, TopicReplaced
from fraudstream.spark.narration import Narration
from fraudstream.spark.progress import Progress
from fraudstream.spark.recovery import CURABLE, Patience, existing_topic
from fraudstream.spark.source import Planned, location, new_checkpoint, read_messages
from fraudstream.spark.stopping import UntilStopped
from fraudstream.store import resumption
from fraudstream.store.label_folding import fold_known
from fraudstream.store.migrate import migrate
from fraudstream.store.slices import Counts
from fraudstream.store.targets import by_topic

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

log = get_logger("consume")

POLL_SECONDS = 0.1
"""Seconds between two checks of the query, and so the longest delay with which `--once` ends."""
LABEL_SECONDS = 60.0
"""Seconds between two foldings of newly known labels: a minute is nothing compared with a delay of days."""


@dataclass(slots=True, kw_only=True)
class Summary(Counts):
    """What a consumer has done since it started."""

    targets: tuple[str, ...]
    restarts: int = 0
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def stream(self) -> str:
        """Its name in monitoring."""
        return "consume" if len(self.targets) > 1 else f"consume {self.targets[0]}"

    @property
    def rows(self) -> int:
        """Rows stored in the tables; for the target `profiles` alone, the transactions counted in them."""
        return (
            sum(count for target, count in self.stored.items() if target != "profiles") or self.stored.total()
        )


@dataclass(frozen=True, slots=True)
class _Run:
    """What one call of `Consumer.run` was asked for, and what came of it."""

    topic: str
    summary: Summary
    stop: threading.Event
    once: bool


class _Report:
    """Tells how one query gets on: PostgreSQL, monitoring and the log."""

    def __init__(self, progress: Progress, narration: Narration, summary: Summary) -> None:
        self._progress, self._narration, self._summary = progress, narration, summary

    @property
    def is_due(self) -> bool:
        return self._progress.is_due

    def tell(self, positions: Mapping[int, int], *, last: bool) -> None:
        """Record the positions; log what was stored, or, as the `last` word, only what could not be read."""
        read, pace = sum(positions.values()), self._progress.tell(positions, self._summary.rows)
        if self._narration.owes(self._summary, read) or (pace and not last):
            self._narration.tell(self._summary, read, pace)


def _ranges(planned: Planned, batch_id: int) -> list[Range]:
    """What Spark planned for a batch. Raises QueryStopped if that is gone, as where somebody clears the temporary files."""
    try:
        return planned.ranges(batch_id)
    except (OSError, ValueError, IndexError) as error:
        raise QueryStopped(f"Spark's checkpoint cannot be read: {error}.") from None


class Consumer:
    """Stores one topic in PostgreSQL, exactly once, from the executors."""

    def __init__(
        self,
        spark: "SparkSession",
        settings: Settings,
        *,
        rules: Sequence[Rule] = (),
        monitor: ConsumeMonitor | None = None,
    ) -> None:
        self._spark = spark
        self._kafka, self._postgres, self._settings = settings.kafka, settings.postgres, settings.spark
        self._label_delay = timedelta(days=settings.model.label_delay_days)
        self._rules = {rule.name: rule for rule in rules}
        self._monitor = monitor or ConsumeMonitor()
        self._admin = kafka_clients.admin(self._kafka)
        self._failure: FraudstreamError | None = None
        self._client: dict[str, str] = {}
        """The configuration of the tasks' clients."""
        self._expected: dict[int, dict[str, int]] = {}
        self._patience = Patience(self._postgres.retry_seconds)
        self._size = BatchSize(self._settings.rows_per_batch, self._settings.batch_seconds)

    def run(
        self, targets: tuple[str, ...], *, once: bool, stop: threading.Event, accept_loss: bool = False
    ) -> Summary:
        """Consume until `stop` is set or, with `once`, until everything that was there is stored.

        The targets read one topic, which is created if it is missing; `consume.run_consumer` runs several. Waits for a
        lost PostgreSQL or broker, at most `postgres.retry_seconds` since the last progress. Raises
        StreamError with Spark's reason, MessagesLost, DatabaseError, TopicError.
        """
        began = time.monotonic()
        summary = Summary(targets=targets)
        migrate(self._postgres)
        (name,) = by_topic(self._kafka, targets)
        run = _Run(name, summary, stop, once=once)
        if once:  # whoever waits for its end would wait for the restarts of growing batches, too
            self._size.limit = self._settings.rows_per_batch
        # Partitions of decisions match those of the transactions, whether `score` or `consume` starts first.
        topic = kafka_clients.ensure_topic(self._kafka, name, like=self._kafka.transactions_topic)
        where = partial(self._where, run)
        start = self._position(run, topic, accept_loss=accept_loss)
        found: tuple[Topic, dict[int, int]] | None = topic, start
        self._monitor.begun(summary.stream)
        while not stop.is_set():
            try:
                self._stream(run, *(found or where()))
                if not stop.is_set():
                    self._fold_labels(targets, lambda: not stop.is_set())
                break
            except Resized as change:
                log.info(change.message)
                found = None
            except CURABLE as error:
                self._monitor.restarted(summary.stream, error.message)
                found = self._patience.until(where, error, stop)
                if found is None:
                    break
                summary.restarts += 1
        self._monitor.ended(summary.stream)
        summary.interrupted = stop.is_set()
        summary.seconds = time.monotonic() - began
        return summary

    def _where(self, run: _Run) -> tuple[Topic, dict[int, int]]:
        """The topic as it is now, and the start offsets of its partitions. The password may have changed meanwhile."""
        self._admin = kafka_clients.admin(self._kafka)
        topic = existing_topic(self._kafka, run.topic, self._admin)
        # Whoever accepted a loss knew what was lost before the start, and nothing of what is lost later.
        return topic, self._position(run, topic, accept_loss=False)

    def _position(self, run: _Run, topic: Topic, *, accept_loss: bool) -> dict[int, int]:
        """The start offset of each partition: the lowest stored offset of the targets."""
        stored = resumption.begin(
            self._kafka,
            self._postgres,
            topic,
            run.summary.targets,
            accepting="`fraudstream consume --accept-loss`",
            accept_loss=accept_loss,
        )
        self._expected = {}
        for (target, partition), offset in stored.items():
            self._expected.setdefault(partition, {})[target] = offset
        return self._positions()

    def _stream(self, run: _Run, topic: Topic, start: dict[int, int]) -> None:
        """Run one query to its end. Raises what stopped it."""
        self._failure = None
        summary, targets = run.summary, run.summary.targets
        log.info("reading %s, %d partitions, into %s", topic.name, len(topic.partitions), ", ".join(targets))
        progress = Progress(
            self._kafka, self._postgres, self._admin, self._monitor, summary.stream, topic, summary.rows
        )
        narration = Narration(self._monitor, topic.name, sum(start.values()), summary)
        report = _Report(progress, narration, summary)
        with ExitStack() as scratch:
            with recovery.starting(self._spark):
                checkpoint = scratch.enter_context(new_checkpoint(self._spark))
                self._client = kafka_clients.inline_config(self._kafka)
                planned = Planned(checkpoint, start)
                batches = UntilStopped(partial(self._store, topic, summary, planned), run.stop)
                query = self._start(run, topic, start, batches, checkpoint)
            try:
                self._watch(run, topic, query, report)
            finally:
                batches.finish()
                query.stop()
        failure = None if batches.refused else self._failure or failures.failure_of(query)
        if failure is None or isinstance(failure, Resized):  # whose batch is stored
            self._tell(topic, query, report, last=True)
        if failure is not None:
            raise failure

    def _start(
        self, run: _Run, topic: Topic, start: dict[int, int], batches: UntilStopped, checkpoint: str
    ) -> "StreamingQuery":
        """The query, started, with its state in the directory `checkpoint`."""
        pause = f"{self._settings.trigger_seconds:f} seconds"
        return (
            read_messages(self._spark, self._kafka, topic, start, rows_per_batch=self._size.limit)
            .writeStream.queryName(f"consume {' '.join(run.summary.targets)}")
            .foreachBatch(batches)
            .option("checkpointLocation", location(checkpoint))
            .trigger(**({"availableNow": True} if run.once else {"processingTime": pause}))
            .start()
        )

    def _watch(self, run: _Run, topic: Topic, query: "StreamingQuery", report: _Report) -> None:
        """Report, and fold labels, until the query ends or a stop is requested."""

        def turn() -> bool:
            """Report if that is due; returns whether to go on."""
            if report.is_due:
                if query.lastProgress is not None:  # stored something, or found nothing to do
                    self._patience.reward()
                self._tell(topic, query, report, last=False)
            return query.isActive and not run.stop.is_set()

        folded = time.monotonic()
        while turn():
            if time.monotonic() - folded >= LABEL_SECONDS:
                try:
                    self._fold_labels(run.summary.targets, turn)
                except DatabaseUnreachable as error:  # if it persists, the stream itself fails
                    log.warning("Labels that became known are folded later: %s", error.message)
                folded = time.monotonic()
            run.stop.wait(POLL_SECONDS)

    def _tell(self, topic: Topic, query: "StreamingQuery", report: _Report, *, last: bool) -> None:
        """Report where all targets have everything, behind Kafka's markers."""
        markers.pass_over(query, self._postgres, topic, self._expected)
        report.tell(self._positions(), last=last)

    def _positions(self) -> dict[int, int]:
        """The offset of each partition below which all targets have everything."""
        seen = dict(self._expected)  # a copy in one step: Spark's thread adds partitions
        return {partition: min(by_target.values()) for partition, by_target in seen.items()}

    def _fold_labels(self, targets: tuple[str, ...], go_on: Callable[[], bool]) -> None:
        """Fold newly known labels, if profiles are kept; the first time that may be a whole history."""
        if "profiles" in targets:
            known = fold_known(self._postgres, datetime.now(UTC), self._label_delay, go_on)
            if known.truths or known.labels:
                log.info(
                    "profiles learned from labels: %s that came with payments, %s by reviewers",
                    f"{known.truths:,}",
                    f"{known.labels:,}",
                )

    def _store(self, topic: Topic, summary: Summary, planned: Planned, _: "DataFrame", batch_id: int) -> None:
        """Have the executors read and store one micro-batch. An exception stops the query."""
        began, before = time.monotonic(), sum(self._positions().values())
        try:
            # Catches a batch that was planned on a recreated topic: the plan is older than this check.
            if existing_topic(self._kafka, topic.name, self._admin).topic_id != topic.topic_id:
                raise TopicReplaced(f"Topic {topic.name} was deleted and recreated.")
            job = sink.Job(
                postgres=self._postgres,
                kafka=self._client,
                topic=topic.name,
                topic_id=topic.topic_id,
                ranges=_ranges(planned, batch_id),
                targets=summary.targets,
                expected=self._expected,
                rules=self._rules,
            )
            reports, errors = sink.read_reports(sink.run(self._spark, job))
            for report in reports:  # these are committed, even if other slices failed
                done = report.outcome
                self._expected[report.partition] = done.next_offsets
                summary.add(done)
                self._monitor.stored(
                    done.stored,
                    done.duplicates,
                    done.rejected,
                    from_future=done.from_future,
                    unknown_fields=done.unknown_fields,
                )
            if errors:
                raise errors[0]
            self._patience.reward()
            self._size.follow(sum(self._positions().values()) - before, time.monotonic() - began)
        except FraudstreamError as error:
            self._failure = error
            raise
