"""Messages that a test sends before it looks what becomes of them."""

from collections.abc import Iterable

from confluent_kafka import Producer

from fraudstream.kafka import client_config, ensure_topic
from fraudstream.settings import Settings

Record = tuple[bytes | None, int]
"""A value and the partition that it goes to."""


def spread(values: Iterable[bytes | None], partitions: int = 4) -> list[Record]:
    """The values, each to the next partition."""
    return [(value, place % partitions) for place, value in enumerate(values)]


def send(settings: Settings, records: Iterable[Record], topic: str | None = None) -> None:
    """Send these to the topic of the transactions, or to another one; it is created if it is missing."""
    name = topic or settings.kafka.transactions_topic
    ensure_topic(settings.kafka, name)
    producer = Producer(client_config(settings.kafka) | {"message.max.bytes": 20_000_000})
    for value, partition in records:
        producer.produce(name, value, key=b"key", partition=partition)
    assert producer.flush(30) == 0
