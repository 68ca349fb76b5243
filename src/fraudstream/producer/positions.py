"""How far a topic is converted: recorded in PostgreSQL like the positions of all streams, and compared with what Kafka has."""

import re
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
"""The name under which positions are stored, followed by that of the conversion if it has one: `convert refunds`."""
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
"""What Kafka takes as the name of a topic."""
SAVE_SECONDS: Final = 1.0
"""Between two records of the position. Each waits until Kafka has everything, which takes milliseconds if it keeps up."""
LOOK_SECONDS: Final = 5.0
"""Between two looks at the topic (its ends, and partitions that were added), and between two reports to monitoring."""
LOOK_PATIENCE_SECONDS: Final = 3.0
"""How long a look waits for Kafka, as nothing is converted meanwhile: one partition may have no leader, and others have."""
RETRY_SECONDS: Final = 30.0
"""Before PostgreSQL is tried again: every attempt may take ten seconds, in which nothing is converted."""


def source_topic(kafka: KafkaSettings, name: str, client: "AdminClient | None" = None) -> Topic:
    """The topic to be converted. Raises TopicError if it is missing, UsageError if it is one of ours."""
    if name in (kafka.transactions_topic, kafka.scored_topic):
        raise UsageError(
            f"{name} is fraudstream's own topic, and would be converted in circles.",
            hint="Name the topic that has your messages.",
        )
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a topic.",
            hint="Topics have letters, digits, dots, underscores and hyphens.",
        )
    found = find_topic(kafka, name, client)
    if found is None:
        raise TopicError(
            f"There is no topic {name}.", hint="Check its name, and FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS."
        )
    return found


class Positions:
    """How far the topic is converted, and what Kafka has of it."""

    def __init__(  # noqa: PLR0913 - what is recorded, where, and of whom
        self,
        kafka: KafkaSettings,
        postgres: PostgresSettings,
        topic: Topic,
        reached: Mapping[int, int],
        *,
        stream: str = STREAM,
        patience_seconds: float = 60.0,
    ) -> None:
        self.kafka, self.topic = kafka, topic
        self._postgres, self._stream, self._patience = postgres, stream, patience_seconds
        self.reached = dict(reached)
        """What is to be recorded: every message below is sent, or skipped."""
        self.seen = dict(reached)
        """The same for monitoring, ahead of it while only skipped messages are behind it (`proof`)."""
        self.added: dict[int, int] = {}
        """Partitions that are not read yet, with their beginnings."""
        self._saved = dict(reached)
        now = time.monotonic()
        self._next_save, self._next_report, self._next_look, self._looked = now + SAVE_SECONDS, now, now, now
        self._away = False
        self._admin: AdminClient | None = None
        self.trouble: str | None = None
        """Why Kafka could not be asked lately."""
        self._last = Standing(topic.name, dict(reached), {}, 0.0)

    @property
    def standing(self) -> Standing:
        """Where it is now; the ends and the pace are those of the last look."""
        return replace(self._last, reached=dict(self.seen))

    def ends(self) -> dict[int, int]:
        """Where the partitions end now. Raises BrokerUnreachable."""
        return {
            p: bound.end
            for p, bound in kafka_clients.bounds(self.kafka, self.topic).items()
            if p in self.reached
        }

    @property
    def is_time(self) -> bool:
        """Whether a new position is to be recorded."""
        return self.reached != self._saved and time.monotonic() >= self._next_save

    def save(self, *, last: bool = False) -> None:
        """Record the position. If PostgreSQL is away, it is recorded later: meanwhile conversion goes on.

        Raises DatabaseUnreachable if this is the `last` time.
        """
        try:
            offsets.reach(self._postgres, self._stream, self.topic, self.reached)
        except DatabaseUnreachable as error:
            if last:
                raise DatabaseUnreachable(
                    f"{error.message} The position could not be recorded: the next run sends some messages again."
                ) from None
            self._wait(error)
            return
        self._saved = dict(self.reached)
        self._next_save = time.monotonic() + SAVE_SECONDS
        self.report(now=True)

    def report(self, *, now: bool = False) -> None:
        """Tell monitoring where it is, every few seconds: also while there is nothing to do, or while Kafka is slow."""
        if not now and time.monotonic() < self._next_report:
            return
        self._next_report = time.monotonic() + LOOK_SECONDS
        if self.trouble is not None:
            return  # what it had last is not where it is
        try:
            progress.record(self._postgres, self._stream, self.standing, self._patience)
        except DatabaseUnreachable as error:
            self._wait(error)
            return
        if self._away:
            log.info("PostgreSQL answers again")
        self._away = False

    def _wait(self, error: DatabaseUnreachable) -> None:
        if not self._away:
            log.warning(
                "%s Conversion continues; after a restart, some messages are sent again.", error.message
            )
        self._away = True
        self._next_save = self._next_report = time.monotonic() + RETRY_SECONDS

    def look(self) -> None:
        """Look at the topic if it is time to. Raises TopicError if it was deleted or recreated."""
        if time.monotonic() < self._next_look:
            return
        brief = self.kafka.model_copy(
            update={"timeout_seconds": min(self.kafka.timeout_seconds, LOOK_PATIENCE_SECONDS)}
        )
        try:
            self._admin = self._admin or kafka_clients.admin(brief)
            found = source_topic(brief, self.topic.name, self._admin)
            ends = kafka_clients.bounds(brief, found, self._admin)
        except BrokerUnreachable as error:
            self.trouble = error.message
            self._admin = None  # the next one gets the current password
            return
        finally:
            # From its end on: a look that waits for a leader takes its time.
            now = time.monotonic()
            self._next_look = now + LOOK_SECONDS
        if found.topic_id != self.topic.topic_id:
            raise TopicError(
                f"Topic {self.topic.name} was deleted and recreated.",
                hint="Start again: the new one is converted from its first message.",
            )
        self.topic, self.trouble = found, None
        added = {partition: bound.first for partition, bound in ends.items() if partition not in self.reached}
        self.added |= added
        self.reached |= added
        self.seen |= added
        seconds = max(now - self._looked, 1e-3)
        self._looked = now
        self._last = self._last.later(dict(self.seen), {p: b.end for p, b in ends.items()}, seconds)
