"""Starts the scorer's queries: from Kafka through a model to Kafka."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from fraudstream.kafka import Topic, java_config
from fraudstream.logs import get_logger
from fraudstream.settings import Settings
from fraudstream.spark import timing
from fraudstream.spark.live_query import Basis, LiveQuery
from fraudstream.spark.mode import Mode
from fraudstream.spark.recovery import starting
from fraudstream.spark.source import location, new_checkpoint, read_messages

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = get_logger("score")

COLUMNS: Final = ("value", "topic", "partition", "offset", "timestamp")
_PRODUCER: Final = {
    # A decision is sent immediately, but while a request is in flight, new ones share the next. With Java's default of
    # five requests each decision had its own, and bursts, such as after a hand-over, overloaded both sides with requests:
    # at 2,000 a second half of them took 19 to 57 ms instead of 14 to 36 (docs/scoring.md).
    Mode.REALTIME: {"linger.ms": "0", "max.in.flight.requests.per.connection": "1"},
    # A batch waits for its last decision anyway. Java's default of 16 KiB would be ten decisions per request, which costs
    # the broker more than Spark; lz4 profits from the similarity of their features.
    Mode.MICROBATCH: {
        "linger.ms": "20",
        "batch.size": str(256 << 10),
        "compression.type": "lz4",
    },
}
"""How Kafka's client sends decisions, by mode."""


class Launcher:
    """Starts queries on one topic, each for as long as its successor will take to get ready."""

    def __init__(self, spark: "SparkSession", settings: Settings, mode: Mode, topic: Topic) -> None:
        self._spark, self._settings, self._mode, self._topic = spark, settings, mode, topic
        self._told = False
        """Whether it was logged that queries live longer than set."""

    def launch(self, basis: Basis, start: Mapping[int, int], before: LiveQuery | None) -> LiveQuery:
        """A query after the one `before`. Raises NotStarted if this machine or Spark fails, and our own errors."""
        with starting(self._spark):
            return self._launch(basis, start, before)

    def _launch(self, basis: Basis, start: Mapping[int, int], before: LiveQuery | None) -> LiveQuery:
        began, kafka = time.monotonic(), self._settings.kafka
        realtime = self._mode is Mode.REALTIME
        limit = None if realtime else self._settings.spark.rows_per_batch
        messages = read_messages(self._spark, kafka, self._topic, start, limit, COLUMNS)
        decisions = basis.scoring.decide(messages, basis.profiles)
        building = time.monotonic() - began
        seconds = self.batch_seconds(basis, building, before)
        # A decision is on every replica before its message counts as answered.
        producer = java_config(kafka) | {"acks": "all"} | _PRODUCER[self._mode]
        properties = {f"kafka.{name}": value for name, value in producer.items()}
        trigger = {"realTime": f"{seconds:.3f} seconds"} if realtime else {"processingTime": "0 seconds"}
        checkpoint = new_checkpoint(self._spark)
        query = (
            decisions.writeStream.queryName(f"score {time.time_ns()}")
            .format("kafka")
            .options(**properties, topic=kafka.scored_topic)
            .option("checkpointLocation", location(checkpoint.name))
            .outputMode("update")
            .trigger(**trigger)
            .start()
        )
        self._spark.streams.resetTerminated()
        log.debug("a batch lasts %.1f s, as this query took %.2f s to build", seconds, building)
        return LiveQuery(self._spark, query, start, basis, checkpoint, time.monotonic() - began, seconds)

    def batch_seconds(self, basis: Basis, building_seconds: float, before: LiveQuery | None) -> float:
        """Length of a batch of a query that took so long to build: its successor is to be ready before that ends."""
        score = self._settings.score
        if not score.overlap or basis.scoring.lookup is not None:
            return score.trigger_seconds
        preparing = building_seconds / timing.BUILDING_SHARE + basis.reading_seconds
        if before is not None:
            preparing = max(preparing, before.preparing_seconds)
        # Any longer, and monitoring would report a stream that hangs.
        longest = self._settings.metrics.stalled_seconds
        lead = timing.lead(preparing, first=before is None)
        seconds = timing.batch_seconds(score.trigger_seconds, lead, longest)
        # A first one always takes its time.
        if before is not None and seconds > score.trigger_seconds and not self._told:
            self._told = True
            log.info(
                "A query with newer profiles takes %.0f s to prepare on this machine, so each lives for %.0f s, not %.0f s:"
                " decisions use older profiles.",
                preparing,
                seconds,
                score.trigger_seconds,
            )
        return seconds
