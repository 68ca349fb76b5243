"""Rejected messages through their topic again, once they can be read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

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


@dataclass(slots=True)
class Redelivery:
    """What became of the messages that waited."""

    replayed: int = 0
    still_rejected: int = 0


def replay_rejected(kafka: KafkaSettings, postgres: PostgresSettings) -> Redelivery:
    """Send every rejected message that can be read by now to its topic, with its key and its very bytes.

    Raises DeliveryError where Kafka does not take one; what was sent before is marked, and not sent again.
    """
    from confluent_kafka import Producer

    producer = Producer({**producer_config(kafka), "log_level": "0"})
    done = Redelivery()
    transactions, decisions = Decoder(), DecisionDecoder()
    for topic, portion in _portions(rejected.waiting(postgres)):
        decoder = decisions if topic == kafka.scored_topic else transactions
        decoded = decoder.decode([message.value for message in portion])
        readable = [portion[position] for position in decoded.positions]
        _send(producer, kafka, readable, decoded.rows["user_id"].to_pylist())
        rejected.mark_replayed(postgres, readable)
        done.replayed += len(readable)
        done.still_rejected += len(decoded.rejects)
    return done


def _portions(messages: Iterable[Rejected]) -> Iterator[tuple[str, list[Rejected]]]:
    """Portions of one topic each, as each topic is read in its own way."""
    for topic, waiting in groupby(messages, attrgetter("topic")):
        while portion := list(islice(waiting, PORTION)):
            yield topic, portion


def _send(producer: "Producer", kafka: KafkaSettings, messages: list[Rejected], users: list[str]) -> None:
    refused: list[str] = []

    def delivered(error: "KafkaError | None", _message: "Message") -> None:
        if error is not None:
            refused.append(error.str())

    for message, user in zip(messages, users, strict=True):
        # The key that it came with, else the one that every message of ours has: a user's history has one order.
        value: Any = message.value
        producer.produce(message.topic, value, key=message.key or user.encode(), on_delivery=delivered)
        producer.poll(0)
    left = producer.flush(kafka.timeout_seconds * 3)
    if left or refused:
        raise DeliveryError(
            f"Kafka did not take {left + len(refused)} of {len(messages)} messages: {(refused or ['no answer'])[0]}.",
            hint="They still wait: run `fraudstream rejected replay` again when Kafka answers.",
        )
