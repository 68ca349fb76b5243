"""What a task reads of a partition: exactly its range, from a real Kafka, whatever the messages are."""

import secrets
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from fraudstream import kafka
from fraudstream.kafka import Range, ReadingStopped, inline_config, reading
from fraudstream.local.processes import choose_port
from fraudstream.settings import Settings
from sending import send


def offsets(settings: Settings, wanted: Range) -> list[list[int]]:
    """The offsets of the blocks that are read."""
    blocks = reading.read(inline_config(settings.kafka), settings.kafka.transactions_topic, wanted)
    return [list(block.offsets) for block in blocks]


@pytest.fixture
def admin(settings: Settings) -> AdminClient:
    return kafka.admin(settings.kafka)


@pytest.fixture(autouse=True)
def _own_client() -> Iterator[None]:
    """None is left behind, as tasks leave theirs."""
    yield
    for topic in list(reading._held):
        reading._drop(topic)


def test_a_range_is_read_whole_and_nothing_beyond_it(settings: Settings) -> None:
    send(settings, [(b"%d" % n, 0) for n in range(25_000)] + [(b"other", 1)])
    read = reading.read(
        inline_config(settings.kafka), settings.kafka.transactions_topic, Range(0, 100, 24_900)
    )
    blocks = list(read)
    assert [at for block in blocks for at in block.offsets] == list(range(100, 24_900))
    assert [value for block in blocks for value in block.values] == [b"%d" % n for n in range(100, 24_900)]
    assert {key for block in blocks for key in block.keys} == {b"key"}
    assert max(len(block.offsets) for block in blocks) < reading.BLOCK + reading.REQUEST
    # The same client reads another partition, an earlier part, and a single message.
    assert offsets(settings, Range(1, 0, 1)) == [[0]]
    assert offsets(settings, Range(0, 3, 5)) == [[3, 4]]
    assert len(reading._held) == 1


def test_large_messages_come_in_blocks_that_memory_can_hold(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BLOCK_BYTES", 4_000_000)
    send(settings, [(secrets.token_bytes(900_000), 0) for _ in range(12)] + [(None, 0)])
    read = offsets(settings, Range(0, 0, 13))
    assert [at for block in read for at in block] == list(range(13))
    assert max(map(len, read)) <= 6


def test_a_range_ends_though_only_markers_and_aborted_messages_follow(settings: Settings) -> None:
    topic = settings.kafka.transactions_topic
    kafka.ensure_topic(settings.kafka, topic)
    producer = Producer(kafka.client_config(settings.kafka) | {"transactional.id": topic})
    producer.init_transactions(30)
    for n in range(4):
        producer.begin_transaction()
        producer.produce(topic, b"%d" % n, partition=0)
        producer.flush(30)
        (producer.abort_transaction if n % 2 else producer.commit_transaction)(30)
    assert offsets(settings, Range(0, 0, 8)) == [[0, 4]]
    assert offsets(settings, Range(0, 5, 8)) == []


def test_messages_that_retention_deleted_stop_it(settings: Settings, admin: AdminClient) -> None:
    topic = settings.kafka.transactions_topic
    send(settings, [(b"x", 0)] * 10)
    for future in admin.delete_records([TopicPartition(topic, 0, 5)]).values():
        future.result(30)
    with pytest.raises(ReadingStopped, match=f"cannot send {topic}/0"):
        offsets(settings, Range(0, 0, 10))
    assert offsets(settings, Range(0, 5, 10)) == [[5, 6, 7, 8, 9]]


def test_a_topic_that_is_gone_and_a_broker_that_is_silent_stop_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SILENCE_SECONDS", 1.0)
    with pytest.raises(ReadingStopped, match=r"cannot send|sent nothing"):
        offsets(settings, Range(0, 0, 1))
    away = inline_config(settings.kafka) | {"bootstrap.servers": f"127.0.0.1:{choose_port()}"}
    with pytest.raises(ReadingStopped, match="sent nothing of any/0 for 1 s"):
        list(reading.read(away, "any", Range(0, 0, 1)))
    assert not reading._held, "the next task begins with a new client"


def test_a_client_with_other_credentials_replaces_the_one_that_is_held(settings: Settings) -> None:
    send(settings, [(b"x", 0)])
    assert offsets(settings, Range(0, 0, 1)) == [[0]]
    topic = settings.kafka.transactions_topic
    first = reading._held[topic]
    other = inline_config(settings.kafka) | {"client.id": "another"}
    (block,) = reading.read(other, topic, Range(0, 0, 1))
    assert list(block.offsets) == [0]
    assert reading._held[topic] is not first
    assert len(reading._held) == 1
