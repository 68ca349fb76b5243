"""One query of the scorer: its model and profiles, whether its tasks run, and its progress."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fraudstream.logs import get_logger
from fraudstream.spark.failures import QueryStopped, failure_of
from fraudstream.spark.scoring import Profiles, Scoring
from fraudstream.spark.source import offsets_in
from fraudstream.spark.timing import GRACE_SECONDS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

log = get_logger("score")


@dataclass(frozen=True)
class Basis:
    """What a query decides with: a model, the rules, and profiles at one point in time."""

    scoring: Scoring
    profiles: Profiles
    reading_seconds: float
    """How long it took to read the profiles."""


class LiveQuery:
    """One query: its start offsets, and the offsets up to which everything from there on is answered."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a query consists of
        self,
        spark: "SparkSession",
        query: "StreamingQuery",
        start: Mapping[int, int],
        basis: Basis,
        checkpoint: "tempfile.TemporaryDirectory[str]",
        building_seconds: float,
        batch_seconds: float,
    ) -> None:
        self.basis = basis
        self.batch_seconds = batch_seconds
        """How long a real-time batch of it lasts, and it decides before another one with fresh profiles does."""
        self.start = dict(start)
        """From there on everything below `reached` is answered, by this query or by those that it follows."""
        self.reached = dict(start)
        self.ends: dict[int, int] = {}
        """The ends of the partitions when the last batch was planned, as reported by Spark."""
        self.batches = 0
        self.began = time.monotonic()
        self._ready_at: float | None = None
        self._moved_at: float | None = None
        self._building_seconds = building_seconds
        self._spark, self._query, self._checkpoint = spark, query, checkpoint
        self._seen = ""  # start time of the last batch that was looked at, as reported by Spark

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.began

    def look(self) -> bool:
        """Note a batch that ended, or found no messages; returns whether there is one. Raises what stopped the query."""
        if not self._query.isActive:
            raise failure_of(self._query) or QueryStopped("Spark stopped the query.")
        if self._ready_at is None and self._runs():
            self._ready_at = time.monotonic()
            log.debug("query %s runs after %.2f s", self._query.name, self._ready_at - self.began)
        progress = self._query.lastProgress
        # Not by its number: while idle, Spark reports every 10 s on the next batch, which keeps the same number.
        if progress is None or progress.timestamp == self._seen:
            return False
        self._seen, self._moved_at = progress.timestamp, time.monotonic()
        self.batches = progress.batchId + 1
        source = progress.sources[0]
        self.reached |= offsets_in(source.endOffset)
        self.ends |= offsets_in(source.latestOffset)
        return True

    @property
    def is_past(self) -> bool:
        """Whether the time of a batch is over, and one ended, or there were no messages for one."""
        return self.age > self.batch_seconds and (self.batches > 0 or self._waits())

    def follow(self, before: "LiveQuery") -> None:
        """Take over what this query answered, which was stopped where this one starts."""
        self.start |= before.start

    def hangs(self, seconds: float) -> bool:
        """Whether it reads messages, but no batch of it has ended for this long."""
        since = self._moved_at or self._ready_at
        return since is not None and time.monotonic() - since > seconds and not self._waits()

    @property
    def preparing_seconds(self) -> float:
        """How long it took to read its profiles, to build it and, once all its tasks run, to start them."""
        starting = 0.0 if self._ready_at is None else self._ready_at - self.began
        return self.basis.reading_seconds + self._building_seconds + starting

    @property
    def running_seconds(self) -> float:
        """Seconds since all its tasks run, which is also when its first batch began; 0 until then."""
        return 0.0 if self._ready_at is None else time.monotonic() - self._ready_at

    @property
    def answers(self) -> bool:
        """Whether it has run for long enough to answer new messages."""
        return self.running_seconds >= GRACE_SECONDS

    def _runs(self) -> bool:
        """Whether its tasks all run, or wait for a message."""
        if self.batches or self._waits():
            return True
        tracker = self._spark.sparkContext.statusTracker()
        for job in tracker.getJobIdsForGroup(str(self._query.runId)):
            found = tracker.getJobInfo(job)
            for stage in map(tracker.getStageInfo, found.stageIds if found else ()):
                if stage is not None and stage.numTasks == len(self.start) == stage.numActiveTasks:
                    return True
        return False

    def _waits(self) -> bool:
        """Whether there are no messages to plan a batch for."""
        return bool(self._query.status["message"].startswith("Waiting for data"))

    def stop(self) -> None:
        """End the query; its successor repeats what it answered since its last batch."""
        self._query.stop()
        self._checkpoint.cleanup()
