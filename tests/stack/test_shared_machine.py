"""What another user of the machine reaches, as SECURITY.md and docs/security.md say."""

import secrets
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from fraudstream import kafka
from fraudstream.settings import Settings
from samples import message

ROOT = Path(__file__).parents[2]


def test_the_embedded_broker_asks_nobody_for_a_password_and_the_pages_say_so(settings: Settings) -> None:
    """Should it ask one day, those pages are to be changed."""
    topic = kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic)
    anybody = {"bootstrap.servers": settings.kafka.bootstrap_servers}
    producer = Producer(anybody)
    producer.produce(topic.name, message(user_id="forged"), partition=0)
    assert producer.flush(60) == 0
    consumer = Consumer(anybody | {"group.id": secrets.token_hex(4)})
    try:
        consumer.assign([TopicPartition(topic.name, 0, 0)])
        (read,) = consumer.consume(1, 60)
        assert b"forged" in (read.value() or b"")
    finally:
        consumer.close()
    assert "the embedded Kafka has no password" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "| embedded Kafka | 127.0.0.1; no password |" in (ROOT / "docs" / "security.md").read_text(
        encoding="utf-8"
    )
