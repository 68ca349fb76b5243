"""Counts and latencies of the decisions, as readers of the scored topic see them.

A separate thread follows the end of the topic. Answers that a hand-over or a restart repeats are
counted separately: the first one counts, as everywhere.
"""

import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from fraudstream import kafka as kafka_clients
from fraudstream.decode import REFUSED
from fraudstream.errors import BrokerUnreachable
from fraudstream.kafka import Topic, client_config
from fraudstream.settings import KafkaSettings
from fraudstream.store.latency import BINS_PER_E, SHORTEST

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message

_REMEMBERED: Final = 100_000
"""Number of answers among which repeats are recognised: a hand-over repeats those of a second or two."""
LOOK_SECONDS: Final = 5.0
"""Seconds between two checks for added partitions, and for a client that lost its brokers."""

_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""Format of every scorer; a time without a zone is not ours, and no latency can be computed from it."""


class _Answer(msgspec.Struct):
    """The fields of a decision or a refusal that are read here."""

    scored_at: _Instant
    sent_at: _Instant | None = None
    transaction_id: str | None = None
    flagged: bool = False
    partition: int | None = None
    offset: int | None = None


@dataclass(slots=True)
class Latencies:
    """A histogram in the bins of `shop.latency_bins`: any number of latencies in a few hundred integers."""

    bins: Counter[int] = field(default_factory=Counter)

    def add(self, milliseconds: float) -> None:
        """Count one."""
        self.bins[round(math.log(max(milliseconds / 1000, SHORTEST)) * BINS_PER_E)] += 1

    def quantile(self, share: float) -> float | None:
        """The quantile in milliseconds, exact to 1 %; None if there are no latencies.

        >>> latencies = Latencies()
        >>> for ms in range(1, 101):
        ...     latencies.add(ms)
        >>> 49 <= latencies.quantile(0.5) <= 51
        True
        """
        wanted, seen = share * self.bins.total(), 0
        for place in sorted(self.bins):
            seen += self.bins[place]
            if seen >= wanted:
                return math.exp(place / BINS_PER_E) * 1000
        return None


@dataclass(slots=True)
class Tally:
    """Answers since some time. Latency is from the broker's timestamp of the message to the decision."""

    decisions: int = 0
    flagged: int = 0
    refused: int = 0
    repeated: int = 0
    latencies: Latencies = field(default_factory=Latencies)


class Answers:
    """Counts what arrives in the scored topic from now on."""

    def __init__(self, kafka: KafkaSettings, topic: Topic) -> None:
        self._kafka, self._topic = kafka, topic.name
        self._next = {p: bound.end for p, bound in kafka_clients.bounds(kafka, topic).items()}
        """Where to read on in each partition."""
        self._broken = False
        """Whether the consumer complained: it keeps the password and the certificate that it was made with."""
        self._consumer = self._connected()
        self._decoder = msgspec.json.Decoder(_Answer)
        self._recent: tuple[set[object], set[object]] = (set(), set())
        self._lock = threading.Lock()
        self._whole, self._latest = Tally(), Tally()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="answers", daemon=True)
        self._thread.start()

    def whole(self) -> Tally:
        """All answers since the start."""
        return self._whole

    def take_latest(self) -> Tally:
        """The answers since the last call."""
        with self._lock:
            taken, self._latest = self._latest, Tally()
        return taken

    def knows(self, name: object) -> bool:
        """Whether there is a recent answer to this transaction, or to the message at this (partition, offset)."""
        newer, older = self._recent
        return name in newer or name in older

    def close(self) -> None:
        """Count what has been answered by now, for LOOK_SECONDS at most, and stop."""
        self._closing.set()
        self._thread.join()

    def _follow(self) -> None:
        looked = time.monotonic()
        try:
            while not self._closing.is_set():
                if time.monotonic() - looked > LOOK_SECONDS:
                    looked = time.monotonic()
                    if self._broken:
                        self._reconnect()
                    else:
                        self._follow_added()
                self._take()
            self._finish()
        finally:
            self._consumer.close()

    def _finish(self) -> None:
        """Count up to the present end of the topic, unless the broker is away."""
        from confluent_kafka import KafkaException, TopicPartition

        until = time.monotonic() + LOOK_SECONDS
        try:
            ends = {
                partition: self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), 1.0)[
                    1
                ]
                for partition in self._next
            }
        except KafkaException:
            return
        while any(max(self._next[p], 0) < end for p, end in ends.items()) and time.monotonic() < until:
            self._take()

    def _take(self) -> None:
        """Count what arrived."""
        messages = self._consumer.consume(1000, 0.2)
        with self._lock:
            for message in messages:
                self._count(message)

    def _connected(self) -> "Consumer":
        """A consumer with the current secrets. Raises BrokerUnreachable, KafkaException while they cannot be used."""
        from confluent_kafka import Consumer, TopicPartition

        options: dict[str, Any] = {
            **client_config(self._kafka),
            "group.id": "fraudstream-score-tally",
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "log_level": "0",
            "error_cb": self._complain,  # a broker that is away is the stream's news, not this thread's
        }
        consumer = Consumer(options)
        consumer.assign([TopicPartition(self._topic, *place) for place in self._next.items()])
        return consumer

    def _complain(self, _error: "KafkaError") -> None:
        self._broken = True

    def _reconnect(self) -> None:
        """Read on with another consumer."""
        from confluent_kafka import KafkaException

        try:
            successor = self._connected()
        except (BrokerUnreachable, KafkaException):
            return  # a password or a key is being replaced just now
        self._consumer.close()
        self._consumer, self._broken = successor, False

    def _follow_added(self) -> None:
        """Also read added partitions, from their first message."""
        from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition

        try:
            found = self._consumer.list_topics(self._topic, LOOK_SECONDS).topics[self._topic].partitions
        except KafkaException:
            return  # a broker that is away is the stream's news
        if added := dict.fromkeys(found.keys() - self._next.keys(), OFFSET_BEGINNING):
            self._consumer.incremental_assign(
                [TopicPartition(self._topic, *place) for place in added.items()]
            )
            self._next |= added

    def _count(self, message: "Message") -> None:
        partition, offset = message.partition(), message.offset()
        if message.error() or partition is None or offset is None:
            return
        self._next[partition] = offset + 1
        try:
            answer = self._decoder.decode(message.value() or b"")
        except REFUSED:
            return  # another program's message, not an answer
        name = answer.transaction_id or (answer.partition, answer.offset)
        repeated = self._seen(name)
        for tally in (self._whole, self._latest):
            if repeated:
                tally.repeated += 1
            elif answer.transaction_id is None:
                tally.refused += 1
            else:
                tally.decisions += 1
                tally.flagged += answer.flagged
                if answer.sent_at is not None:
                    tally.latencies.add((answer.scored_at - answer.sent_at).total_seconds() * 1000)

    def _seen(self, name: object) -> bool:
        """Whether an answer with this name arrived recently; two sets alternate, so that neither grows without bound."""
        if self.knows(name):
            return True
        newer = self._recent[0]
        newer.add(name)
        if len(newer) >= _REMEMBERED:
            self._recent = (set(), newer)
        return False
