"""What a running stream tells of itself while what it writes to is away."""

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

from fraudstream import kafka
from fraudstream.metrics import ConsumeMonitor
from fraudstream.settings import KafkaSettings, PostgresSettings
from fraudstream.spark.progress import Progress
from mock_broker import mock_broker


@contextmanager
def without_postgres(partitions: int) -> Iterator[tuple[Producer, ConsumeMonitor, Progress]]:
    """A stream that began when the topic `payments` had its first partition, and PostgreSQL away; it has so many by now."""
    away = PostgresSettings(host="127.0.0.1", port=1)
    with mock_broker() as broker:
        broker.create("payments", partitions)
        settings = KafkaSettings(bootstrap_servers=broker.servers)
        producer = Producer(kafka.client_config(settings) | {"log_level": "0"})
        monitor, topic = ConsumeMonitor(), kafka.Topic("payments", "id", (0,))
        monitor.begun("consume")
        yield producer, monitor, Progress(settings, away, kafka.admin(settings), monitor, "consume", topic)


def send(producer: Producer, partition: int) -> None:
    """Five messages."""
    for _ in range(5):
        producer.produce("payments", b"{}", partition=partition)
    assert producer.flush(30) == 0


def lag(monitor: ConsumeMonitor, partition: int) -> float | None:
    """What /metrics says of a partition."""
    labels = {"stream": "consume", "topic": "payments", "partition": str(partition)}
    return monitor.registry.get_sample_value("fraudstream_lag_messages", labels)


def test_what_waits_in_kafka_is_counted_on_while_postgresql_is_away() -> None:
    """An outage is when the lag is looked at: it grew unseen, and the last pace stood for as long as nothing was stored."""
    with without_postgres(partitions=1) as (producer, monitor, progress):
        for waiting in (5, 10):
            send(producer, 0)
            progress.tell({0: 0}, rows=1_000)
            assert lag(monitor, 0) == waiting
        assert (
            monitor.registry.get_sample_value("fraudstream_messages_per_second", {"stream": "consume"}) == 0
        )
        assert not monitor.health().ok
        assert "does not answer" in monitor.health().sentence


def test_messages_in_partitions_that_were_added_since_the_start_wait_too() -> None:
    """They had no lag at all: /healthz was well while nobody read them."""
    with without_postgres(partitions=2) as (producer, monitor, progress):
        send(producer, 1)
        progress.tell({0: 0}, rows=0)
        assert lag(monitor, 1) == 5
