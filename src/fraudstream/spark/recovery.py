"""Restarting after temporary failures: how long to wait, and for what."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from fraudstream import kafka as kafka_clients
from fraudstream.errors import (
    BrokerRefused,
    BrokerUnreachable,
    DatabaseUnreachable,
    FraudstreamError,
)
from fraudstream.kafka import ReadingStopped, Topic
from fraudstream.logs import get_logger
from fraudstream.settings import KafkaSettings
from fraudstream.spark import session
from fraudstream.spark.failures import ClientFailed, NotStarted, QueryStopped, TopicReplaced, not_started
from fraudstream.store.slices import OffsetHole

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient
    from pyspark.sql import SparkSession

log = get_logger("spark.recovery")

Found = TypeVar("Found")

BACKOFF_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses between starts after a failure; the last one repeats."""
CURABLE: Final = (
    DatabaseUnreachable,
    BrokerUnreachable,
    OffsetHole,
    TopicReplaced,
    QueryStopped,
    ReadingStopped,
)
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
