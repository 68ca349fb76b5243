"""What the broker's refusals mean, without a broker."""

import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Uuid
from confluent_kafka.admin._topic import TopicDescription

from certificates import Authority
from fraudstream import kafka
from fraudstream.errors import (
    BrokerRefused,
    BrokerUnreachable,
    FraudstreamError,
    LeaderMissing,
    TopicError,
)
from fraudstream.kafka import topics
from fraudstream.kafka.refusal import refusal as why_refused
from fraudstream.settings import KafkaSettings, SecurityProtocol
from mock_broker import BROKER, NOBODY, mock_broker

CREATE = topics._Asked("create topic payments", "Create")


def refusal(code: int, asked: topics._Asked = CREATE) -> FraudstreamError:
    """How an answer of the broker with this code is told."""
    answer: Future[Any] = Future()
    answer.set_exception(KafkaException(KafkaError(code)))
    with pytest.raises(FraudstreamError) as caught:
        topics._answer(KafkaSettings(bootstrap_servers="127.0.0.1:1"), answer, asked)
    return caught.value


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._NOENT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
    ],
)
def test_a_broker_that_learns_of_a_new_leader_is_asked_again(code: int) -> None:
    """A broker that starts again, or a topic that was made a moment ago, on a busy machine: the broker answers that it knows an older leader."""
    assert isinstance(refusal(code), LeaderMissing)


def test_a_broker_that_lost_its_own_connection_is_away() -> None:
    assert type(refusal(KafkaError.NETWORK_EXCEPTION)) is BrokerUnreachable


@pytest.mark.parametrize(
    "code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED]
)
def test_a_right_that_is_missing_is_a_refusal_as_a_login_is(code: int) -> None:
    """Told at once where a command starts, waited for where one runs: whoever manages rights mends them meanwhile."""
    refused = refusal(code)
    assert isinstance(refused, BrokerRefused)
    assert refused.message.startswith("Kafka refused to create topic payments: ")
    assert "the right Create" in refused.hint


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (KafkaError.TOPIC_EXCEPTION, "FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC"),
        (KafkaError.INVALID_REPLICATION_FACTOR, "FRAUDSTREAM_KAFKA__REPLICATION_FACTOR"),
        (KafkaError.INVALID_PARTITIONS, "FRAUDSTREAM_KAFKA__PARTITIONS"),
        (KafkaError.POLICY_VIOLATION, "policy"),
        (KafkaError.UNSUPPORTED_VERSION, "log"),
    ],
)
def test_what_no_wait_can_cure_is_told_at_once_with_what_to_change(code: int, hint: str) -> None:
    refused = refusal(code)
    assert type(refused) is TopicError
    assert "create topic payments" in refused.message
    assert hint in refused.hint


def test_a_broker_that_gives_topics_no_id_is_refused_instead_of_mixing_up_their_offsets() -> None:
    """Kafka before 2.8: every topic has the same id, and what is stored of one would be skipped in the next."""
    assert topics._described(TopicDescription("new", Uuid(1, 2), False, [])).topic_id == str(Uuid(1, 2))
    with pytest.raises(TopicError, match="reports no id for topic old") as caught:
        topics._described(TopicDescription("old", Uuid(0, 0), False, []))
    assert "2.8" in caught.value.hint


def test_a_partition_without_a_leader_is_waited_for_and_said_by_name() -> None:
    """Its broker starts again: a running stream begins anew once there is a leader, as after a broker that was away."""
    topic = kafka.Topic("payments", "id", (0, 1))
    with mock_broker() as broker:
        broker.create("payments", 2)
        # Asked again and again until then; a second is short on a busy machine.
        settings = KafkaSettings(bootstrap_servers=broker.servers, timeout_seconds=5)
        broker.lead("payments", 1, NOBODY)
        with pytest.raises(BrokerUnreachable, match="no leader for partition payments/1:"):
            kafka.bounds(settings, topic)
        broker.lead("payments", 1, BROKER)
        patient = settings.model_copy(update={"timeout_seconds": 30})
        assert kafka.bounds(patient, topic) == dict.fromkeys((0, 1), kafka.Bounds(0, 0))


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.REPLICA_NOT_AVAILABLE,
    ],
)
def test_a_new_leader_that_is_not_ready_is_asked_again(code: int) -> None:
    """In the seconds after a broker of a cluster failed, the one that leads now cannot say yet where its partitions end."""
    topic = kafka.Topic("payments", "id", (0,))
    with mock_broker() as broker:
        broker.create("payments", 1)
        settings = KafkaSettings(bootstrap_servers=broker.servers, timeout_seconds=30)
        broker.refuse_offsets(code, requests=1)
        assert kafka.bounds(settings, topic) == {0: kafka.Bounds(0, 0)}


@contextmanager
def tls_server(host: str, directory: Path) -> Iterator[str]:
    """The address of a server that shakes hands in TLS, with a certificate of an authority that nobody knows."""
    pair = Authority(directory, "unknown").issue("broker", host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")

    def greet(client: socket.socket) -> None:
        with suppress(OSError), client, context.wrap_socket(client, server_side=True) as secured:
            secured.recv(1)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # the test is over
                return
            # Each in a thread of its own: one that keeps its connection, and says nothing, would keep all others out.
            threading.Thread(target=greet, args=[client], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with listener:
        port = listener.getsockname()[1]
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_broker_that_speaks_tls_is_recognised_on_ipv6_and_behind_one_that_is_down(
    host: str, tmp_path: Path
) -> None:
    """Only the first server was asked, and brackets were taken for a part of its name."""
    with tls_server(host, tmp_path) as address:
        found = why_refused(KafkaSettings(bootstrap_servers=f"127.0.0.1:9,{address}"))
    assert found is not None
    assert f"Kafka at {address} speaks TLS" in found.message


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_certificate_that_is_not_accepted_is_named_on_ipv6_too(host: str, tmp_path: Path) -> None:
    with tls_server(host, tmp_path) as address:
        kafka = KafkaSettings(bootstrap_servers=address, security_protocol=SecurityProtocol.SSL)
        found = why_refused(kafka)
    assert found is not None
    assert f"The certificate of Kafka at {address} was not accepted" in found.message
