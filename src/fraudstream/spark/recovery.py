"""Restarting after temporary failures: how long to wait, and where a stream resumes."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from fraudstream import kafka as kafka_clients
from fraudstream.errors import (
    BrokerRefused,
    BrokerUnreachable,
    DatabaseUnreachable,
    FraudstreamError,
    MessagesLost,
)
from fraudstream.kafka import Topic
from fraudstream.logs import get_logger
from fraudstream.settings import KafkaSettings, PostgresSettings
from fraudstream.spark import session
from fraudstream.spark.failures import ClientFailed, NotStarted, QueryStopped, TopicReplaced, not_started
from fraudstream.store import offsets
from fraudstream.store.slices import OffsetHole
from fraudstream.store.targets import companions

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient
    from pyspark.sql import SparkSession

log = get_logger("spark.recovery")

Found = TypeVar("Found")

BACKOFF_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses between starts after a failure; the last one repeats."""
CURABLE: Final = (DatabaseUnreachable, BrokerUnreachable, OffsetHole, TopicReplaced, QueryStopped)
"""After these a stream resumes where it stopped, until patience ends."""


class Patience:
    """Backs off after consecutive failures, and gives up `seconds` after the first of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._failures: list[float] = []
        """Times of the failures since the last progress."""
        self._ran = False

    def reward(self) -> None:
        """Note progress: the next failure is a new one.

        That is something stored or answered, or a check that found nothing to do, whatever time that took. A query that
        merely lives is none: one that reads in vain fails after a timeout, which may be minutes.
        """
        self._ran = True
        self._failures.clear()

    def until(
        self, find: Callable[[], Found], error: FraudstreamError, stop: threading.Event
    ) -> Found | None:
        """The result of `find`, retried while it raises one of CURABLE; None if a stop was requested.

        Raises the last error once patience ends. Before any progress, a rejection, a wrong setting or a query that cannot be
        started is raised immediately: while a stream runs, logins, rights, keys and disks may be corrected, but at the start
        there is somebody to read the error.
        """
        if isinstance(error, (BrokerRefused, ClientFailed, NotStarted)) and not self._ran:
            raise error
        while True:
            now = time.monotonic()
            self._failures.append(now)
            if now - self._failures[0] > self._seconds:
                raise error
            pause = BACKOFF_SECONDS[min(len(self._failures), len(BACKOFF_SECONDS)) - 1]
            log.warning("%s Resuming in %s s.", error.message, pause)
            if stop.wait(pause):
                return None
            try:
                return find()
            except CURABLE as again:
                error = again


@contextmanager
def starting(spark: "SparkSession") -> Iterator[None]:
    """Raises NotStarted for what this machine or Spark raises while a query is built and started, unless Spark is gone."""
    try:
        yield
    except FraudstreamError:  # such as a wrong setting
        raise
    except Exception as error:  # a full disk, or whatever Java raises
        if session.ended(spark, session.JVM_SECONDS):  # no restart of a query cures that
            raise
        raise not_started(type(error).__name__, str(error)) from error


def existing_topic(kafka: KafkaSettings, name: str, client: "AdminClient | None" = None) -> Topic:
    """The topic of a running stream. Raises QueryStopped if it is gone, BrokerUnreachable."""
    found = kafka_clients.find_topic(kafka, name, client)
    if found is None:
        raise QueryStopped(f"Topic {name} is gone.")
    return found


def begin(  # noqa: PLR0913 - what a start depends on
    kafka: KafkaSettings,
    postgres: PostgresSettings,
    topic: Topic,
    targets: Sequence[str],
    *,
    command: str,
    accept_loss: bool,
    new: Literal["first", "end"] = "first",
) -> dict[tuple[str, int], int]:
    """The start offset of each target and partition: the stored one, checked against what the broker still has.

    A target without any offset in a topic of this name starts at the first message, or with `new="end"` at
    the next one; partitions and topics that were added later are read completely. Raises MessagesLost (or, if the loss is
    accepted, moves the stored offsets instead), BrokerUnreachable, DatabaseError.

    Other targets of the topic count if Kafka lost messages that they have stored: new messages get those offsets, and rejects
    below the offset of any target count as stored (`store.slices`).
    """
    # Before Kafka's end is asked for: what other consumers, also of these targets, store of what arrives meanwhile is not
    # beyond it.
    before = offsets.stored(postgres, companions(targets[0]), topic)
    bounds = kafka_clients.bounds(kafka, topic)
    first = {partition: bound.first for partition, bound in bounds.items()}
    if new == "end":
        ends = {partition: bound.end for partition, bound in bounds.items()}
        strangers = [t for t in targets if not offsets.known(postgres, t, topic)]
        offsets.begin(postgres, strangers, topic, ends)
    stored = offsets.begin(postgres, targets, topic, first)
    beyond = {
        (target, partition): offset
        for (target, partition), offset in before.items()
        if partition in bounds and offset > bounds[partition].end
    }
    places = beyond | stored
    outside = {
        (target, partition): bounds[partition]
        for (target, partition), offset in places.items()
        if partition in bounds and ((target, partition) in beyond or offset < bounds[partition].first)
    }
    if outside and not accept_loss:
        where = "; ".join(
            f"target {target} is at offset {places[target, partition]} of {topic.name}/{partition}, but"
            f" Kafka has {bound.first} to {bound.end}"
            for (target, partition), bound in outside.items()
        )
        raise _lost(where, command, beyond=any(places[place] > bound.end for place, bound in outside.items()))
    moved = {}
    for (target, partition), bound in outside.items():
        offset = places[target, partition]
        moved[target, partition] = begins = min(max(offset, bound.first), bound.end)
        log.warning(
            "%s: offsets %s to %s of partition %s are lost", target, *sorted((offset, begins)), partition
        )
        offsets.move(postgres, target, topic, partition, begins)
    return {place: moved.get(place, offset) for place, offset in stored.items()}


def _lost(where: str, command: str, *, beyond: bool) -> MessagesLost:
    """The error for missing messages: retention deleted old ones, or, `beyond` Kafka's end, Kafka lost new ones."""
    if beyond:
        return MessagesLost(
            f"{where}: Kafka lost messages that are already stored.",
            hint="A replica without them became leader, or a broker was restored from a backup; new messages reuse their"
            f" offsets. To continue at Kafka's end: `{command} --accept-loss`.",
        )
    return MessagesLost(
        f"{where}: messages were deleted before they were read.",
        hint=f"Raise the topic's retention. To continue without them: `{command} --accept-loss`.",
    )
