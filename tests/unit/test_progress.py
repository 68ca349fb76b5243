"""What a running stream tells of itself while what it writes to is away."""

from confluent_kafka import Producer

from fraudstream import kafka
from fraudstream.metrics import ConsumeMonitor
from fraudstream.settings import KafkaSettings, PostgresSettings
from fraudstream.spark.progress import Progress
from mock_broker import mock_broker


def test_what_waits_in_kafka_is_counted_on_while_postgresql_is_away() -> None:
    """An outage is when the lag is looked at: it grew unseen, and the last pace stood for as long as nothing was stored."""
    away = PostgresSettings(host="127.0.0.1", port=1)
    with mock_broker() as broker:
        broker.create("payments", 1)
        settings = KafkaSettings(bootstrap_servers=broker.servers)
        producer = Producer(kafka.client_config(settings) | {"log_level": "0"})
        monitor, topic = ConsumeMonitor(), kafka.Topic("payments", "id", (0,))
        monitor.begun("consume")
        progress = Progress(settings, away, kafka.admin(settings), monitor, "consume", topic)
        for waiting in (5, 10):
            for _ in range(5):
                producer.produce("payments", b"{}")
            assert producer.flush(30) == 0
            progress.tell({0: 0}, rows=1_000)
            labels = {"stream": "consume", "topic": "payments", "partition": "0"}
            assert monitor.registry.get_sample_value("fraudstream_lag_messages", labels) == waiting
        assert (
            monitor.registry.get_sample_value("fraudstream_messages_per_second", {"stream": "consume"}) == 0
        )
        assert not monitor.health().ok
        assert "does not answer" in monitor.health().sentence


def test_messages_in_partitions_that_were_added_since_the_start_wait_too() -> None:
    """They had no lag at all: /healthz was well while nobody read them."""
    away = PostgresSettings(host="127.0.0.1", port=1)
    with mock_broker() as broker:
        broker.create("payments", 2)
        settings = KafkaSettings(bootstrap_servers=broker.servers)
        producer = Producer(kafka.client_config(settings) | {"log_level": "0"})
        monitor, at_the_start = ConsumeMonitor(), kafka.Topic("payments", "id", (0,))
        monitor.begun("consume")
        progress = Progress(settings, away, kafka.admin(settings), monitor, "consume", at_the_start)
        for _ in range(5):
            producer.produce("payments", b"{}", partition=1)
        assert producer.flush(30) == 0
        progress.tell({0: 0}, rows=0)
        labels = {"stream": "consume", "topic": "payments", "partition": "1"}
        assert monitor.registry.get_sample_value("fraudstream_lag_messages", labels) == 5
