"""A real client with no broker, or with librdkafka's mock of one: every message is accounted for."""

import itertools
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, Producer

from fraudstream import kafka
from fraudstream.producer import redelivery
from fraudstream.producer.delivery import Batch, deliver
from fraudstream.producer.sender import Sender, Undelivered
from fraudstream.settings import KafkaSettings
from mock_broker import mock_broker
from waiting import wait_until

NOBODY = "127.0.0.1:1"
"""Nothing listens on port 1."""


def _sends(settings: KafkaSettings) -> None:
    Sender(settings, "transactions-data", threading.Event(), linger_ms=20)


def _sends_again(settings: KafkaSettings) -> None:
    redelivery._producer(settings)


def _sends_anything(settings: KafkaSettings) -> None:
    kafka.producer(settings, {})


@pytest.mark.parametrize("make", [_sends, _sends_again, _sends_anything])
def test_every_producer_waits_for_all_replicas_and_stores_nothing_twice(
    make: Callable[[KafkaSettings], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By what the client itself says of its configuration: neither a lost leader nor a retry shows on a good day."""
    made: list[Producer] = []

    def producer(config: dict[str, Any]) -> Producer:
        talkative = {"debug": "conf", "log_level": 7, "logger": logging.getLogger("librdkafka")}
        made.append(Producer(config | talkative))
        return made[-1]

    monkeypatch.setattr(confluent_kafka, "Producer", producer)
    with caplog.at_level("DEBUG", "librdkafka"):
        make(KafkaSettings(bootstrap_servers=NOBODY))
        (one,) = made
        one.poll(0)
    said = {message.rpartition("]:")[2].strip() for message in caplog.messages}
    assert {"enable.idempotence = true", "request.required.acks = -1"} <= said


def test_messages_that_nobody_acknowledges_are_counted_as_failed() -> None:
    """A real client without a broker: asked to stop, it gives up in time, and every message is accounted for."""
    stop = threading.Event()
    sender = Sender(
        KafkaSettings(bootstrap_servers=NOBODY, timeout_seconds=0.5), "transactions-data", stop, linger_ms=0
    )
    sender.send([b"u"] * 500, [b"{}"] * 500)
    stop.set()
    assert sender.close() == (0, 500)
    assert list(sender.reasons) == ["Local: Purged in queue"], "given up, not waited for until they time out"
    error = Undelivered(0, 500, 1.0, sender.reasons)
    assert error.document()["failed"] == 500
    assert "500" in error.message


def test_a_message_that_is_too_large_fails_alone() -> None:
    """The client refuses it at once; its neighbours wait for the broker."""
    stop = threading.Event()
    sender = Sender(
        KafkaSettings(bootstrap_servers=NOBODY, timeout_seconds=0.2), "transactions-data", stop, linger_ms=0
    )
    sender.send([b"u"] * 3, [b"a", b"b" * 3_000_000, b"c"])
    assert sender.failed == 1
    assert "too large" in next(iter(sender.reasons))
    stop.set()
    assert sender.close() == (0, 3)


def test_a_producer_that_may_not_write_ends_and_says_why_once(caplog: pytest.LogCaptureFixture) -> None:
    """Kafka refuses every message for itself: a run without an end would go on for nothing."""
    stop = threading.Event()
    with mock_broker() as broker:
        broker.create("transactions-data", 1)
        broker.refuse_messages(KafkaError.TOPIC_AUTHORIZATION_FAILED, requests=50)
        settings = KafkaSettings(bootstrap_servers=broker.servers, timeout_seconds=5)
        sender = Sender(settings, "transactions-data", stop, linger_ms=0)
        endless = (Batch([b"u"], [b"{}"]) for _ in itertools.count())
        report = deliver(endless, sender, stop)
    assert stop.is_set()
    assert report.sent == 0
    assert report.failed
    assert caplog.messages == ["Kafka does not accept a message: Broker: Topic authorization failed"]
    assert "right to write" in Undelivered(0, report.failed, 1.0, sender.reasons).hint


def test_every_outage_of_kafka_is_said_and_every_end_of_one(caplog: pytest.LogCaptureFixture) -> None:
    """After the first one a run of days fell silent."""
    caplog.set_level("INFO")
    stop = threading.Event()
    with mock_broker() as broker:
        broker.create("transactions-data", 1)
        settings = KafkaSettings(bootstrap_servers=broker.servers, timeout_seconds=5)
        sender = Sender(settings, "transactions-data", stop, linger_ms=0)

        def told(words: str, times: int) -> bool:
            sender.send([b"u"], [b"{}"])
            return sum(words in message for message in caplog.messages) == times

        for outage in (1, 2):
            assert told("no Kafka broker answers", outage - 1)
            broker.go()
            wait_until(partial(told, "no Kafka broker answers", outage), "word of the outage")
            broker.come()
            wait_until(partial(told, "Kafka answers again", outage), "word of its end")
            assert len(caplog.messages) == 2 * outage
        stop.set()
        sender.close()
