"""The live scorer reads a topic whose producer sends in Kafka's transactions: markers, and what is not decided yet."""

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer, TopicPartition

from fraudstream import kafka
from fraudstream.settings import Settings
from fraudstream.spark.mode import Mode
from fraudstream.spark.scorer import Scorer, Summary
from fraudstream.store import registry, resumption
from fraudstream.store.connection import connect
from live_scorer import Topics, live_topics, promote
from samples import message
from waiting import running, wait_until

if TYPE_CHECKING:
    import threading
    from concurrent.futures import Future

    from pyspark.sql import SparkSession

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


@contextlib.contextmanager
def scoring(
    spark: "SparkSession", settings: Settings, mode: Mode, caplog: pytest.LogCaptureFixture
) -> Iterator["tuple[Future[Summary], threading.Event]"]:
    """A scorer that has begun, and what stops it."""
    caplog.set_level("INFO")
    often = settings.score.model_copy(update={"trigger_seconds": 5.0})
    champion = registry.opened(settings.postgres)
    made = Scorer(spark, settings.model_copy(update={"score": often}), mode, champion)
    with running(made.run, lambda: "scoring " in caplog.text) as begun:
        yield begun


def await_promotion(caplog: pytest.LogCaptureFixture, version: str) -> None:
    """Wait until this model decides."""
    wait_until(lambda: f"model {version} now makes the decisions" in caplog.text, "hand-over")


def test_one_committed_transaction_and_then_silence_hold_up_nothing(
    spark: "SparkSession", live: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    """Its marker takes an offset that nobody sees: promotions still take effect, nothing seems to wait or is lost."""
    settings = live.settings
    with scoring(spark, settings, Mode.REALTIME, caplog) as (begun, stop):
        with transaction(settings, ["one"]) as names:
            pass
        live.await_answers(names)
        wait_until(lambda: stands(settings) == [(2, 2)], "place behind the marker")
        promote(settings.postgres, "second")
        await_promotion(caplog, "second")
        stop.set()
        assert begun.result(120).interrupted
    topic = kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic)
    admin = kafka.admin(settings.kafka)
    for deleted in admin.delete_records([TopicPartition(topic.name, 0, 2)]).values():
        deleted.result(30)
    start = resumption.begin(
        settings.kafka,
        settings.postgres,
        topic,
        ("score",),
        accepting="`fraudstream score --accept-loss`",
        accept_loss=False,
    )
    assert start == {("score", 0): 2}


def test_an_open_transaction_stops_no_query_and_is_scored_once_it_is_committed(
    spark: "SparkSession", live: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    """Micro-batches, whose first query and whose hand-overs begin while the transaction is open."""
    settings = live.settings
    with contextlib.ExitStack() as still_open:
        names = still_open.enter_context(transaction(settings, ["open"]))
        with scoring(spark, settings, Mode.MICROBATCH, caplog) as (begun, stop):
            for version in ("second", "third"):
                promote(settings.postgres, version)
                await_promotion(caplog, version)
            assert stored(settings) == [(0,)]
            still_open.close()
            live.await_answers(names)
            wait_until(lambda: stored(settings) == [(2,)], "stored offset behind the marker")
            stop.set()
            summary = begun.result(120)
    assert summary.interrupted
    assert (summary.restarts, summary.answers.decisions) == (0, 1)


def test_a_topic_ends_before_what_is_not_committed_yet(live: Topics) -> None:
    """As for Spark, which reads nothing beyond; a producer's pause in a transaction is no lag of ours."""
    topic = kafka.ensure_topic(live.settings.kafka, live.settings.kafka.transactions_topic)
    with transaction(live.settings, ["open"]):
        assert kafka.bounds(live.settings.kafka, topic) == {0: kafka.Bounds(0, 0)}
    # The broker says that it is committed before it has written the marker.
    wait_until(lambda: kafka.bounds(live.settings.kafka, topic) == {0: kafka.Bounds(0, 2)}, "marker")
