"""A company's topic with payments in a format of its own, and `convert`, which reads it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka.cimpl import NewTopic

from fraudstream import kafka
from fraudstream.settings import Settings
from fraudstream.store.connection import connect

FORM = (
    *("--map", "id=transaction_id", "--map", "card.number=user_id", "--map", "at=timestamp", "--epoch", "ms"),
    *("--map", "total=amount", "--map", "shop.city=transaction_location", "--only", "type=payment"),
    *("--fill", "device=unknown", "--fill", "location=unknown"),
)


def theirs(number: int, **other: Any) -> bytes:
    """A payment of theirs, changed."""
    card, shop = {"number": number % 7}, {"city": "Turin, IT"}
    payment = {
        "type": "payment",
        "id": number,
        "card": card,
        "at": 1_700_000_000_000 + number,
        "total": "12.50",
    }
    return json.dumps(payment | {"shop": shop} | other).encode()


def sent(settings: Settings, name: str | None = None) -> list[bytes]:
    """All messages of a topic, by default of ours."""
    topic = kafka.find_topic(settings.kafka, name or settings.kafka.transactions_topic)
    if topic is None:
        return []
    places = {partition: bound.first for partition, bound in kafka.bounds(settings.kafka, topic).items()}
    consumer = kafka.reader(settings.kafka, topic.name, places, "test")
    found, ended = [], 0
    while ended < len(places):
        # The first one alone: a call for many waits until it has as many, or for the whole time.
        first = consumer.poll(1.0)
        for record in [first, *consumer.consume(1_000, 0)] if first else []:
            if kafka.is_end(record):
                ended += 1
            else:
                found.append(record.value() or b"")
    consumer.close()
    return found


def partitions(settings: Settings, name: str) -> int:
    """How many a topic has; none if it is missing."""
    topic = kafka.find_topic(settings.kafka, name)
    return 0 if topic is None else len(topic.partitions)


def ids(settings: Settings) -> list[int]:
    """Those of the payments in our topic, in order."""
    return sorted(int(json.loads(value)["transaction_id"]) for value in sent(settings))


def roomy(settings: Settings, *names: str) -> None:
    """Make these topics, with room for messages of three megabytes."""
    admin = kafka.admin(settings.kafka)
    new = [NewTopic(name, 1, 1, config={"max.message.bytes": "3000000"}) for name in names]
    for made in admin.create_topics(new).values():
        made.result()


def recorded(settings: Settings, stream: str = "convert") -> int:
    """How many messages lie below the recorded position."""
    with connect(settings.postgres) as connection:
        (found,) = connection.execute(
            "select coalesce(sum(next_offset), 0) from shop.stream_offsets where target = %s", (stream,)
        ).fetchone() or (0,)
    return int(found)


def more(settings: Settings, than: int) -> bool:
    """Whether more messages than that are in our topic."""
    return len(sent(settings)) > than


@contextmanager
def converting(
    environment: dict[str, str], cwd: Path, source: str, *options: str
) -> "Iterator[subprocess.Popen[str]]":
    """The program as it runs; killed at the end."""
    command = [sys.executable, "-m", "fraudstream", "convert", source, *FORM, *options]
    with subprocess.Popen(command, env=environment, cwd=cwd, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
