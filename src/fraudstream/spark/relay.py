"""Runs one query after another, each with newer profiles, and stops each only once the next one answers.

A query's profiles and model are fixed at its start: Spark reads static data again only between
two batches, and between two batches a real-time query answers nothing for a while. So no query
runs a second batch: before its batch ends, its successor starts concurrently, reads from the end
of the topic at that time, and takes over. Messages that both answer meanwhile are answered twice;
readers keep the first answer.

    query 1   start ├──────────── one batch ────────────┤ ends behind the start of query 2, and is stopped
    query 2                                       start ├──────────── one batch ────────────┤

While query 1 works off a backlog, query 2 answers what is new, and waits to take over. Then newer profiles and a promoted
model are for what is new: query 2 is replaced at the end of a batch by one that starts there.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from fraudstream import kafka as kafka_clients
from fraudstream.errors import BrokerUnreachable, FraudstreamError
from fraudstream.kafka import Bounds, Topic, java_config
from fraudstream.logs import get_logger
from fraudstream.settings import Settings
from fraudstream.spark import markers, timing
from fraudstream.spark.failures import NotStarted, QueryStopped, TopicReplaced
from fraudstream.spark.launcher import Launcher
from fraudstream.spark.live_query import Basis, LiveQuery
from fraudstream.spark.mode import Mode
from fraudstream.spark.recovery import existing_topic
from fraudstream.spark.source import furthest

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient
    from pyspark.sql import SparkSession

log = get_logger("score")

PATIENCE_SECONDS: Final = 60.0
"""Seconds after which a query whose tasks do not all run is reported to lack slots."""
TOPIC_SECONDS: Final = 5.0
"""Seconds between two comparisons of the topic's id without a hand-over."""


def _stop(relieved: LiveQuery) -> None:
    """End a query in the background. Nobody waits for it, so errors can only be reported here."""
    try:
        relieved.stop()
    except Exception as error:  # noqa: BLE001 - whatever it is, the stream goes on with the next query
        log.warning("A replaced query did not stop and still holds its task slots: %s", error)


class Relay:
    """Starts queries, hands the stream from one to the next, and tracks what is certainly answered."""

    def __init__(self, spark: "SparkSession", settings: Settings, mode: Mode, topic: Topic) -> None:
        self._spark = spark
        self._settings, self._mode, self._topic = settings, mode, topic
        self._launcher = Launcher(spark, settings, mode, topic)
        self._admin: AdminClient | None = None
        self._stopping = ThreadPoolExecutor(1, "stop")
        self.ends: dict[int, int] = {}
        """The ends of the partitions when the newest query started, or a micro-batch was planned."""
        self.handovers = 0
        self._answered: dict[int, int] = {}
        """Offsets below which the replaced queries have answered everything, including markers that follow."""
        self._current: LiveQuery | None = None
        self._next: LiveQuery | None = None
        self._told = False
        self._compared_at = 0.0
        self._announced: str | None = None
        """The model that decides on new messages during a backlog, as last logged."""

    @property
    def current(self) -> LiveQuery:
        """The query whose answers count."""
        if self._current is None:
            raise RuntimeError("no query has been started yet")
        return self._current

    @property
    def newest(self) -> LiveQuery:
        """The query that answers new messages, or is about to: the successor if there is one."""
        return self._next or self.current

    @property
    def reached(self) -> dict[int, int]:
        """The offset below which everything is answered, by partition; empty before the first query. Never decreases.

        A successor starts no later than where its predecessor's answers end, and repeats the rest: together they
        cover everything up to the one that is further ahead.
        """
        return furthest(self._current.reached if self._current is not None else {}, self._answered)

    def begin(self, basis: Basis, start: Mapping[int, int]) -> None:
        """Start the first query, at these offsets."""
        self.ends = dict(start)
        self._current = self._launch(basis, start)

    def look(self) -> bool:
        """Follow the queries; returns whether a batch ended, which advances `reached`.

        Raises what stopped the current query, or NotStarted if only its successor failed, which is then dropped.
        """
        self._look_at_next()
        moved = self.current.look()
        self._check_pace()
        if moved:
            self.ends = furthest(self.ends, self.current.ends)
            self._pass_markers()
            self._compare_topic()
        if self._next is not None:
            if self._next.answers and self._covers(self._next.start):
                log.debug("handing over after %.2f s", self.current.age)
                self._stopping.submit(_stop, self.current)
                self._relieve(self._next)
                self._next, self._told = None, False
            elif self._next.age > PATIENCE_SECONDS and not self._next.answers and not self._told:
                self._told = True
                log.warning(
                    "The next query has not started after %.0f s; the current one continues with its older profiles. Every"
                    " partition needs two task slots: give Spark more cores, or set FRAUDSTREAM_SCORE__OVERLAP=false.",
                    self._next.age,
                )
        return moved

    def _compare_topic(self) -> None:
        """Raise TopicReplaced if another topic has the name: its offsets alone may not show that to Spark.

        Where each batch looks up profiles, there may be no hand-over for days, which compares it otherwise.
        """
        now = time.monotonic()
        if self.current.basis.scoring.lookup is None or now - self._compared_at < TOPIC_SECONDS:
            return
        self._compared_at = now
        try:
            self._same_topic()
        except BrokerUnreachable:
            self._admin = None  # the next one gets the current password

    def _same_topic(self) -> Topic:
        """The topic with its current partitions. Raises TopicReplaced, QueryStopped if it is gone, BrokerUnreachable."""
        # Made here, not earlier: the caller waits for a password or a key that is being replaced.
        self._admin = self._admin or kafka_clients.admin(self._settings.kafka)
        topic = existing_topic(self._settings.kafka, self._topic.name, self._admin)
        if topic.topic_id != self._topic.topic_id:
            raise TopicReplaced(f"Topic {topic.name} was deleted and recreated.")
        return topic

    def _look_at_next(self) -> None:
        """Follow the successor, and drop one that failed: the current query answers everything, whatever both answered."""
        if self._next is None:
            return
        try:
            self._next.look()
        except FraudstreamError as error:
            self._stopping.submit(_stop, self._next)
            self._next, self._told = None, False
            raise NotStarted(f"The next query failed: {error.message}", hint=error.hint) from error

    def _pass_markers(self) -> None:
        """Advance to the end of partitions in which only Kafka's transaction markers are left.

        A real-time batch ends after its last message; a successor begins after the markers that follow, and would
        wait for the next message of every partition. A micro-batch reads up to its planned end.
        """
        if self._mode is Mode.REALTIME:
            stands = self.reached.items()
            if behind := {p: offset for p, offset in stands if offset < self.ends.get(p, offset)}:
                silent = markers.silent_until(self._settings.kafka, self._topic, behind)
                self._answered = furthest(self._answered, silent)

    def _covers(self, start: Mapping[int, int]) -> bool:
        """Whether everything before these offsets is answered."""
        return all(self.reached.get(partition, offset) >= offset for partition, offset in start.items())

    def _check_pace(self) -> None:
        """Raise QueryStopped if a real-time batch continues long after its end.

        Spark ends it by the time of day. If the clock was set back, for example by an hour, that is an hour later:
        everything is answered, but nothing counts as answered, and neither profiles nor models change.
        """
        seconds, patience = self.current.batch_seconds, self._settings.metrics.stalled_seconds
        if self._mode is Mode.REALTIME and self.current.hangs(seconds + patience):
            raise QueryStopped(
                f"A batch of {seconds:.0f} s is {patience:g} s overdue: was the clock set back?"
            )

    def is_due(self, basis: Basis) -> bool:
        """Whether it is time for a successor with this basis, or with newer profiles."""
        newest = self.newest
        if not newest.answers or (self._next is not None and not newest.is_past):
            return False
        if basis.scoring is not newest.basis.scoring:
            return True
        if basis.scoring.lookup is not None:
            return False  # each batch looks up newer profiles itself
        if self._settings.score.overlap and self._next is None:
            ahead = timing.lead(self.current.preparing_seconds, first=not self.handovers)
            return timing.is_time(self.current.running_seconds, self.current.batch_seconds, ahead)
        # A real-time query's answers count at the end of its batch, so it is stopped exactly then.
        return newest.is_past

    def hand_over(self, basis: Basis) -> None:
        """Start a successor. Raises TopicReplaced, and QueryStopped if the topic is gone or no query is left.

        The current query continues after BrokerUnreachable, and after NotStarted.
        """
        try:
            topic = self._same_topic()
            bounds = kafka_clients.bounds(self._settings.kafka, topic, self._admin)
        except BrokerUnreachable:
            self._admin = None  # the next one gets the current password
            raise
        self.ends = {partition: bound.end for partition, bound in bounds.items()}
        if self._settings.score.overlap and self._next is None:
            self._next = self._launch(basis, self._behind(bounds))
        else:
            self._replace(basis, {partition: bound.first for partition, bound in bounds.items()})

    def _behind(self, bounds: Mapping[int, Bounds]) -> dict[int, int]:
        """Where a successor starts: at the end of what the current query reads, which answers the rest.

        Spark finds added partitions between two batches, however long a query lives. One that it has not found yet may
        never be read by this query: it continues where queries before it ended, or begins at its first message.
        """
        reads, reached = self.current.reached, self.reached
        return {p: bound.end if p in reads else reached.get(p, bound.first) for p, bound in bounds.items()}

    def _replace(self, basis: Basis, first: Mapping[int, int]) -> None:
        """Stop the newest query and start another where it ended; a new partition begins at its `first` offset."""
        java_config(self._settings.kafka)  # raises while a secret cannot be read, before the query is stopped
        newest = self.newest
        newest.look()
        newest.stop()
        reached = self.reached if self._next is None else newest.reached
        try:
            successor = self._launch(basis, {p: reached.get(p, offset) for p, offset in first.items()})
        except NotStarted as error:
            if self._next is None:  # and so no query is left that could continue
                raise QueryStopped(error.message, hint=error.hint) from error
            self._next, self._told = None, False
            raise
        if self._next is None:
            self._relieve(successor)
            return
        self._next = successor
        self._next.follow(newest)
        old, new = (query.basis.scoring.model.version for query in (self.current, self._next))
        if new not in (old, self._announced):
            self._announced = new
            log.info("model %s decides on new messages; the backlog is finished with %s", new, old)

    def stop(self) -> None:
        """End every query."""
        for runner in (self._current, self._next):
            if runner is not None:
                runner.stop()
        self._stopping.shutdown()
        self._spark.streams.resetTerminated()

    def _relieve(self, successor: LiveQuery) -> None:
        """Make this query the current one."""
        old, new = (query.basis.scoring.model.version for query in (self.current, successor))
        if new != old:
            # Only now: until here, messages were also answered by the previous model.
            log.info("model %s now makes the decisions; it replaces %s", new, old)
        self._answered = self.reached
        self._current = successor
        self.handovers += 1

    def _launch(self, basis: Basis, start: Mapping[int, int]) -> LiveQuery:
        return self._launcher.launch(basis, start, self._current)
