"""The live scorer reads a topic whose producer sends in Kafka's transactions: markers, and what is not decided yet."""

import contextlib
import json
import secrets
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition

from fraudstream import kafka
from fraudstream.settings import Settings
from fraudstream.spark import recovery
from fraudstream.store.connection import connect
from live_scorer import Topics, live_topics, promote, scorer
from samples import message
from waiting import wait_until

Rows = list[tuple[int, int]]


@pytest.fixture
def live(settings: Settings) -> Iterator[Topics]:
    """A topic of one partition, and a model."""
    with live_topics(settings, 1) as topics:
        yield topics


@contextlib.contextmanager
def transaction(settings: Settings, names: Sequence[str]) -> Iterator[Sequence[str]]:
    """A transaction of these messages: the broker has them, and readers may not see them before it ends."""
    config = kafka.client_config(settings.kafka)
    producer = Producer(
        config | {"transactional.id": secrets.token_hex(4), "transaction.timeout.ms": 300_000}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for name in names:
        producer.produce(settings.kafka.transactions_topic, message(transaction_id=name), partition=0)
    assert producer.flush(30) == 0
    yield names
    producer.commit_transaction(30)


def stands(settings: Settings) -> Rows:
    """Next and end offset of the scorer, as dashboards and `health` read them."""
    with connect(settings.postgres) as connection:
        query = "select next_offset, end_offset from shop.stream_progress where stream = 'score'"
        return connection.execute(query).fetchall()


def stored(settings: Settings) -> list[tuple[int]]:
    """Where the next start of the scorer would begin."""
    with connect(settings.postgres) as connection:
        query = "select next_offset from shop.stream_offsets where target = 'score'"
        return connection.execute(query).fetchall()


def test_one_committed_transaction_and_then_silence_hold_up_nothing(
    live: Topics, environment: dict[str, str], tmp_path: Path
) -> None:
    """Its marker takes an offset that nobody sees: promotions still take effect, nothing seems to wait or is lost."""
    log, settings = tmp_path / "log", live.settings
    there = environment | {"FRAUDSTREAM_SCORE__TRIGGER_SECONDS": "5"}
    with scorer(there, log) as process:
        with transaction(settings, ["one"]) as names:
            pass
        live.await_answers(names, log)
        wait_until(lambda: stands(settings) == [(2, 2)], "place behind the marker", log)
        promote(settings.postgres, "second")
        wait_until(lambda: "model second now makes the decisions" in log.read_text(), "promotion", log)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130, log.read_text()
    topic = kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic)
    admin = kafka.admin(settings.kafka)
    for deleted in admin.delete_records([TopicPartition(topic.name, 0, 2)]).values():
        deleted.result(30)
    start = recovery.begin(
        settings.kafka,
        settings.postgres,
        topic,
        ("score",),
        command="fraudstream score",
        accept_loss=False,
    )
    assert start == {("score", 0): 2}


def test_an_open_transaction_stops_no_query_and_is_scored_once_it_is_committed(
    live: Topics, environment: dict[str, str], tmp_path: Path
) -> None:
    """Micro-batches, whose first query and whose hand-overs begin while the transaction is open."""
    log, settings = tmp_path / "log", live.settings
    with contextlib.ExitStack() as still_open:
        names = still_open.enter_context(transaction(settings, ["open"]))
        with scorer(environment, log, "--mode", "microbatch") as process:
            for version in ("second", "third"):
                promote(settings.postgres, version)
                word = f"model {version} now makes the decisions"
                wait_until(lambda word=word: word in log.read_text(), "hand-over", log)  # type: ignore[misc]
            assert stored(settings) == [(0,)]
            still_open.close()
            live.await_answers(names, log)
            wait_until(lambda: stored(settings) == [(2,)], "stored offset behind the marker", log)
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 130, log.read_text()
    summary = json.loads(log.with_suffix(".json").read_text())
    assert (summary["restarts"], summary["decisions"]) == (0, 1)


def test_a_topic_ends_before_what_is_not_committed_yet(live: Topics) -> None:
    """As for Spark, which reads nothing beyond; a producer's pause in a transaction is no lag of ours."""
    topic = kafka.ensure_topic(live.settings.kafka, live.settings.kafka.transactions_topic)
    with transaction(live.settings, ["open"]):
        assert kafka.bounds(live.settings.kafka, topic) == {0: kafka.Bounds(0, 0)}
    # The broker says that it is committed before it has written the marker.
    wait_until(lambda: kafka.bounds(live.settings.kafka, topic) == {0: kafka.Bounds(0, 2)}, "marker")
