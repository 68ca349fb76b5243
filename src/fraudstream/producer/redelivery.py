"""Rejected messages through their topic again, once they can be read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from fraudstream.decision import DecisionDecoder
from fraudstream.decode import Decoder
from fraudstream.errors import DeliveryError
from fraudstream.kafka import producer_config
from fraudstream.settings import KafkaSettings, PostgresSettings
from fraudstream.store import rejected
from fraudstream.store.rejected import Rejected

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

PORTION = 100
"""Messages that are sent before they are marked. A kill in between sends so many again: their rows exist by then,
and the primary key counts them as duplicates."""


LARGEST = 1_000_000_000
"""Bytes of a message, as many as the client allows: which one is too large the broker decides, topic by topic."""
TOLD = 5
"""Refused messages that are told one by one."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that can be read and that Kafka does not take, and why."""

    topic: str
    partition: int
    offset: int
    reason: str


@dataclass(slots=True)
class Redelivery:
    """What became of the messages that waited."""

    replayed: int = 0
    still_rejected: int = 0
    """Messages that go on waiting, those that Kafka refused among them."""
    refused: list[Refused] = field(default_factory=list)
    """The first of those."""


def replay_rejected(kafka: KafkaSettings, postgres: PostgresSettings) -> Redelivery:
    """Send every rejected message that can be read by now to its topic, with its key and its very bytes.

    One that Kafka refuses for what it is goes on waiting. Raises DeliveryError where Kafka fails; what was sent
    before is marked, and not sent again.
    """
    producer = _producer(kafka)
    done = Redelivery()
    transactions, decisions = Decoder(), DecisionDecoder()
    for topic, portion in _portions(rejected.waiting(postgres)):
        decoder = decisions if topic == kafka.scored_topic else transactions
        decoded = decoder.decode([message.value for message in portion])
        readable = [portion[position] for position in decoded.positions]
        refused = _send(producer, kafka, readable, decoded.rows["user_id"].to_pylist())
        sent = [message for place, message in enumerate(readable) if place not in refused]
        rejected.mark_replayed(postgres, sent)
        done.replayed += len(sent)
        done.still_rejected += len(decoded.rejects) + len(refused)
        for place in sorted(refused)[: TOLD - len(done.refused)]:
            which = readable[place]
            done.refused.append(Refused(topic, which.partition, which.offset, refused[place]))
    return done


def _producer(kafka: KafkaSettings) -> "Producer":
    from confluent_kafka import Producer

    return Producer(
        {
            **producer_config(kafka),
            "log_level": "0",
            "message.max.bytes": LARGEST,
            # A portion is in memory already; a queue of fewer bytes would not take all of it.
            "queue.buffering.max.kbytes": 2_147_483_647,
            # A broker refuses a batch as a whole: neighbours that it would take must not be in it.
            "batch.num.messages": 1,
        }
    )


def _portions(messages: Iterable[Rejected]) -> Iterator[tuple[str, list[Rejected]]]:
    """Portions of one topic each, as each topic is read in its own way."""
    for topic, waiting in groupby(messages, attrgetter("topic")):
        while portion := list(islice(waiting, PORTION)):
            yield topic, portion


def _send(
    producer: "Producer", kafka: KafkaSettings, messages: list[Rejected], users: list[str]
) -> dict[int, str]:
    """Send these; returns why Kafka refuses some of them, by their place. Raises DeliveryError where it fails."""
    from confluent_kafka import KafkaError, KafkaException

    lasting = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD)
    refused: dict[int, str] = {}
    failed: list[str] = []

    def report(place: int, error: "KafkaError | None", _message: "Message | None" = None) -> None:
        if error is not None and error.code() in lasting:
            refused[place] = error.str()
        elif error is not None:
            failed.append(error.str())

    for place, (message, user) in enumerate(zip(messages, users, strict=True)):
        # The key that it came with, else the one that every message of ours has: a user's history has one order.
        key, value = message.key or user.encode(), cast("bytes", message.value)
        try:
            producer.produce(message.topic, value, key=key, on_delivery=partial(report, place))
        except KafkaException as error:
            report(place, error.args[0])
        producer.poll(0)
    left = producer.flush(kafka.timeout_seconds * 3)
    if left or failed:
        raise DeliveryError(
            f"Kafka did not take {left + len(failed)} of {len(messages)} messages: {(failed or ['no answer'])[0]}.",
            hint="They still wait: run `fraudstream rejected replay` again when Kafka answers.",
        )
    return refused
