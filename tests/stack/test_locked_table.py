"""A table that another session holds, as a migration or a careless `lock table` does: streams hear a stop all the same."""

import contextlib
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

import pytest

from fraudstream import kafka
from fraudstream.metrics import ConsumeMonitor
from fraudstream.settings import Settings
from fraudstream.spark import consumer as consumers
from fraudstream.spark.consumer import Consumer, Summary
from fraudstream.spark.mode import Mode
from fraudstream.spark.scorer import Scorer
from fraudstream.store import labels, registry
from fraudstream.store.connection import connect
from live_scorer import promote
from profile_world import messages, store, transaction
from waiting import running, wait_until

if TYPE_CHECKING:
    import threading
    from concurrent.futures import Future

    from pyspark.sql import SparkSession

pytestmark = pytest.mark.usefixtures("postgres")

STOP_SECONDS = 30
"""What the pages ask supervisors to allow before a kill."""
LOST = "the next start will score some messages again"


@contextlib.contextmanager
def held(settings: Settings, table: str) -> Iterator[None]:
    """Another session has `table` for itself, and somebody waits for it."""
    with connect(settings.postgres) as holder, connect(settings.postgres, autocommit=True) as watcher:
        holder.execute(f"lock table {table}".encode())
        if table == "shop.profiles":  # which is written only where something became known
            labels.label(settings.postgres, "t", is_fraud=True)
        waiting = "select from pg_locks where not granted and relation = %s::regclass"
        wait_until(lambda: bool(watcher.execute(waiting, (table,)).fetchall()), "wait for the lock")
        yield


@pytest.fixture
def consumer(
    spark: "SparkSession", settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator["tuple[Future[Summary], threading.Event]"]:
    """One that folds labels all the time, with a transaction to fold them into, and what stops it."""
    monkeypatch.setattr(consumers, "LABEL_SECONDS", 0.5)
    store(settings.postgres, [messages([transaction("t", Random(1))])])
    monitor = ConsumeMonitor()
    made = Consumer(spark, settings, monitor=monitor)
    targets = ("transactions", "profiles")
    with running(lambda stop: made.run(targets, once=False, stop=stop), lambda: monitor.health().ok) as begun:
        yield begun


@pytest.mark.parametrize(
    "table", ["shop.stream_progress", "shop.labels", "shop.profiles", "shop.transactions"]
)
def test_a_locked_table_does_not_keep_a_consumer_from_stopping(
    settings: Settings, consumer: "tuple[Future[Summary], threading.Event]", table: str
) -> None:
    begun, stop = consumer
    with held(settings, table):
        stop.set()
        assert begun.result(STOP_SECONDS).interrupted


def test_labels_are_folded_once_a_locked_table_is_free_again(
    settings: Settings,
    consumer: "tuple[Future[Summary], threading.Event]",
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The stream itself goes on."""
    begun, stop = consumer
    folded = "select from shop.labels where folded_at is not null"
    with connect(settings.postgres, autocommit=True) as watcher:
        with held(settings, "shop.profiles"):
            wait_until(lambda: "took too long" in caplog.text, "word of the lock")
        wait_until(lambda: bool(watcher.execute(folded).fetchall()), "folded label")
    stop.set()
    assert begun.result().restarts == 0


def test_locked_profiles_do_not_keep_a_scorer_from_stopping(
    spark: "SparkSession", settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """It can write down how far it came."""
    promote(settings.postgres, "first")
    kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 1)
    made = Scorer(spark, settings, Mode.REALTIME, registry.opened(settings.postgres))
    with (
        running(made.run, made.ready.is_set) as (begun, stop),
        held(settings, "shop.profiles"),
    ):
        stop.set()
        assert begun.result(STOP_SECONDS).interrupted
    assert LOST not in caplog.text


def test_where_nobody_can_write_how_far_a_scorer_came_it_stops_and_says_so(
    spark: "SparkSession", settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A supervisor that waits 30 s for it would kill it otherwise, without a word."""
    promote(settings.postgres, "first")
    kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 1)
    made = Scorer(spark, settings, Mode.REALTIME, registry.opened(settings.postgres))
    with (
        running(made.run, made.ready.is_set) as (begun, stop),
        held(settings, "shop.stream_progress"),
    ):
        stop.set()
        assert begun.result(STOP_SECONDS).interrupted
    assert LOST in caplog.text
