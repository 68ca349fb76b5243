"""How far a topic is converted: recorded in PostgreSQL like the positions of all streams, and compared with what Kafka has."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fraudstream import kafka as kafka_clients
from fraudstream.errors import BrokerUnreachable, DatabaseUnreachable, TopicError, UsageError
from fraudstream.kafka import Topic, find_topic
from fraudstream.logs import get_logger
from fraudstream.metrics import Standing
from fraudstream.settings import KafkaSettings, PostgresSettings
from fraudstream.store import offsets, progress

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

log = get_logger("convert")

STREAM: Final = "convert"
"""The name under which positions are stored."""
SAVE_SECONDS: Final = 1.0
"""Between two records of the position. Each waits until Kafka has everything, which takes milliseconds."""
LOOK_SECONDS: Final = 5.0
"""Between two looks at the topic: its ends, and partitions that were added."""
RETRY_SECONDS: Final = 30.0
"""Before PostgreSQL is tried again: every attempt may take ten seconds, in which nothing is converted."""


def source_topic(kafka: KafkaSettings, name: str, client: "AdminClient | None" = None) -> Topic:
    """The topic to be converted. Raises TopicError if it is missing, UsageError if it is one of ours."""
    if name in (kafka.transactions_topic, kafka.scored_topic):
        raise UsageError(
            f"{name} is fraudstream's own topic, and would be converted in circles.",
            hint="Name the topic that has your messages.",
        )
    found = find_topic(kafka, name, client)
    if found is None:
        raise TopicError(
            f"There is no topic {name}.", hint="Check its name, and FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS."
        )
    return found


class Positions:
    """How far the topic is converted, and what Kafka has of it."""

    def __init__(
        self, kafka: KafkaSettings, postgres: PostgresSettings, topic: Topic, reached: Mapping[int, int]
    ) -> None:
        self.kafka, self.topic = kafka, topic
        self._postgres = postgres
        self.reached = dict(reached)
        self._saved = dict(reached)
        self._next_save = time.monotonic() + SAVE_SECONDS
        self._next_look = time.monotonic()
        self._looked = time.monotonic()
        self._away = False
        self._admin: AdminClient | None = None
        self.standing = Standing(topic.name, dict(reached), {}, 0.0)

    @property
    def is_time(self) -> bool:
        """Whether the position is to be recorded: monitoring wants to hear from a stream that has nothing to do, too."""
        now = time.monotonic()
        due = now >= self._next_save and self.reached != self._saved
        return due or now >= self._next_save + LOOK_SECONDS

    def save(self) -> None:
        """Record the position. If PostgreSQL is away, it is recorded later: meanwhile conversion goes on."""
        try:
            offsets.reach(self._postgres, STREAM, self.topic, self.reached)
            progress.record(self._postgres, STREAM, replace(self.standing, reached=dict(self.reached)))
        except DatabaseUnreachable as error:
            if not self._away:
                log.warning(
                    "%s Conversion continues; after a restart, some messages are sent again.", error.message
                )
            self._away, self._next_save = True, time.monotonic() + RETRY_SECONDS
            return
        if self._away:
            log.info("PostgreSQL answers again")
        self._away, self._saved = False, dict(self.reached)
        self._next_save = time.monotonic() + SAVE_SECONDS

    def look(self) -> bool:
        """Look at the topic if it is time to; returns whether partitions were added, which are read from their beginning.

        Raises TopicError if it was deleted or recreated.
        """
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_SECONDS
        try:
            self._admin = self._admin or kafka_clients.admin(self.kafka)
            found = source_topic(self.kafka, self.topic.name, self._admin)
            ends = kafka_clients.bounds(self.kafka, found, self._admin)
        except BrokerUnreachable:  # the sender tells
            self._admin = None  # the next one gets the current password
            return False
        if found.topic_id != self.topic.topic_id:
            raise TopicError(
                f"Topic {self.topic.name} was deleted and recreated.",
                hint="Start again: the new one is converted from its first message.",
            )
        self.topic = found
        added = {partition: bound.first for partition, bound in ends.items() if partition not in self.reached}
        self.reached |= added
        seconds = max(now - self._looked, 1e-3)
        self._looked = now
        self.standing = self.standing.later(dict(self.reached), {p: b.end for p, b in ends.items()}, seconds)
        return bool(added)
