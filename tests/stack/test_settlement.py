"""How far a scorer that was stopped has answered: its next start answers nothing again, and nothing seems to wait."""

import contextlib
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from fraudstream.kafka import bounds, client_config, ensure_topic
from fraudstream.settings import Settings
from fraudstream.spark.mode import Mode
from fraudstream.spark.scorer import Scorer, Summary
from fraudstream.spark.settlement import settled
from fraudstream.store import registry
from fraudstream.store.connection import connect
from live_scorer import Topics, live_topics
from samples import message
from sending import send
from waiting import HANG_SECONDS, running, wait_until

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def live(settings: Settings) -> Iterator[Topics]:
    with live_topics(settings, 2) as topics:
        yield topics


@contextlib.contextmanager
def scoring(spark: "SparkSession", settings: Settings) -> "Iterator[tuple[Future[Summary], threading.Event]]":
    """A scorer that is ready, in this process: that a signal sets its event is proven elsewhere."""
    made = Scorer(spark, settings, Mode.REALTIME, registry.opened(settings.postgres))
    with running(made.run, made.ready.is_set) as begun:
        yield begun


def test_after_an_orderly_stop_nothing_waits_and_the_next_start_answers_nothing_again(
    spark: "SparkSession", live: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    """The messages of up to a minute were, though all had been answered: `health` paged, and the next start warned."""
    # A query whose batch does not end before the stop.
    score = live.settings.score.model_copy(update={"trigger_seconds": 60.0})
    settings = live.settings.model_copy(update={"score": score})
    with scoring(spark, settings) as (begun, stop):
        live.send(300)
        live.send_bad([b"{", b"\xff", None])
        live.await_answers(live.sent)
        live.await_refusals()
        stop.set()
        assert begun.result(HANG_SECONDS).interrupted
    topic = ensure_topic(settings.kafka, settings.kafka.transactions_topic)
    ends = {place: bound.end for place, bound in bounds(settings.kafka, topic).items()}
    with connect(settings.postgres) as connection:
        stored = connection.execute(
            "select partition, next_offset from shop.stream_offsets where target = 'score'"
        )
        assert dict(stored.fetchall()) == ends
    with scoring(spark, settings) as (begun, stop):
        new = live.send(50)
        live.await_answers(new)
        stop.set()
        assert begun.result(HANG_SECONDS).answers.decisions == len(new)
    live.read()
    assert {len(decisions) for decisions in live.answers.values()} == {1}
    assert "stored before they could be scored" not in caplog.text


def test_answers_reach_up_to_the_first_message_that_lacks_one_and_over_what_readers_never_see(
    settings: Settings,
) -> None:
    """In each partition; a later answer does not count, nor one that is only another partition's."""
    topic = ensure_topic(settings.kafka, settings.kafka.transactions_topic, 4)
    values = [[message(transaction_id=f"{place}-{n}") for n in range(4)] for place in range(4)]
    values[1][1] = b"not JSON"
    send(settings, [(value, place) for place in range(3) for value in values[place]])
    producer = Producer(client_config(settings.kafka) | {"transactional.id": secrets.token_hex(4)})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic.name, values[3][0], partition=3)
    producer.commit_transaction(30)
    known: set[object] = {f"0-{n}" for n in range(4)} | {"1-0", (1, 1), "1-2", "1-3", "2-1", "2-3", "3-0"}

    def found() -> dict[int, int]:
        return settled(settings.kafka, topic, {0: 0, 1: 0, 2: 1, 3: 0}, known.__contains__)

    wait_until(lambda: found()[3] == 2, "marker, which the broker writes after it has said that it will")
    assert found() == {0: 4, 1: 4, 2: 2, 3: 2}


def test_without_a_broker_a_stop_settles_nothing_and_does_not_wait(settings: Settings) -> None:
    topic = ensure_topic(settings.kafka, settings.kafka.transactions_topic)
    gone = settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:9"})
    assert settled(gone, topic, {0: 7}, lambda _: True) == {0: 7}
