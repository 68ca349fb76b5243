"""Reports the progress of a running stream every few seconds, in `shop.stream_progress`."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from fraudstream import kafka as kafka_clients
from fraudstream.errors import BrokerUnreachable, DatabaseUnreachable, TopicError
from fraudstream.kafka import Topic
from fraudstream.logs import get_logger
from fraudstream.metrics import Monitor, Standing
from fraudstream.settings import KafkaSettings, PostgresSettings
from fraudstream.spark.failures import QueryStopped
from fraudstream.spark.recovery import existing_topic
from fraudstream.store import progress

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

log = get_logger("spark.progress")

SECONDS: Final = 5.0
"""Seconds between two reports: a dashboard that refreshes every 10 s always sees a new one."""


class Progress:
    """Progress reports of one stream on one topic. `rows` were counted before it began."""

    def __init__(  # noqa: PLR0913, PLR0917 - whom to ask, whom to tell, and of what
        self,
        kafka: KafkaSettings,
        postgres: PostgresSettings,
        admin: "AdminClient",
        monitor: Monitor,
        stream: str,
        topic: Topic,
        rows: int = 0,
    ) -> None:
        self._kafka = kafka
        self._postgres = postgres
        self._admin = admin
        self._monitor = monitor
        self._stream = stream
        self._topic = topic
        self._told = (time.monotonic(), rows)
        self._away = False

    @property
    def is_due(self) -> bool:
        """Whether the next report is due."""
        return time.monotonic() - self._told[0] >= SECONDS

    def tell(self, positions: Mapping[int, int], rows: int) -> float:
        """Record the next offset of each partition and the rate since the last report; returns that, in rows a second.

        An unavailable PostgreSQL, broker or topic is only logged: if it persists, the stream itself fails. A topic that is
        deleted and recreated under a running stream is unavailable for a moment.
        """
        (before, counted), now = self._told, time.monotonic()
        pace = (rows - counted) / max(now - before, 1e-3)
        self._told = (now, rows)
        try:
            # The current partitions: the query has not read those that were added since it began.
            topic = existing_topic(self._kafka, self._topic.name, self._admin)
            bounds = kafka_clients.bounds(self._kafka, topic, self._admin)
            reached = {p: bound.first for p, bound in bounds.items()} | dict(positions)
            ends = {p: bound.end for p, bound in bounds.items()}
            standing = Standing(topic.name, reached, ends, pace)
            try:
                progress.record(self._postgres, self._stream, standing, self._monitor.patience)
            finally:  # the lag in Kafka is known even if PostgreSQL is unavailable
                self._monitor.stands(self._stream, standing)
            self._away = False
        except (DatabaseUnreachable, BrokerUnreachable, TopicError, QueryStopped) as error:
            self._monitor.lost(self._stream, error.message, pace)
            if not self._away:
                log.warning("Progress could not be saved: %s", error.message)
            self._away = True
        return pace
