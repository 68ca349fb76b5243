"""A table that another session holds, as a migration or a careless `lock table` does: streams hear a stop all the same."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import psutil
import pytest

from fraudstream import kafka
from fraudstream.metrics import ConsumeMonitor
from fraudstream.settings import Settings
from fraudstream.spark import consumer as consumers
from fraudstream.spark.consumer import Consumer
from fraudstream.store import labels
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate
from live_scorer import kill, promote, scorer
from profile_world import messages, store, transaction
from waiting import wait_until

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STOP_SECONDS = 30
"""What the pages ask supervisors to allow before a kill."""


@contextlib.contextmanager
def held(settings: Settings, table: str = "shop.stream_progress") -> Iterator[None]:
    """Another session has `table` for itself, and somebody waits for it."""
    with connect(settings.postgres) as holder, connect(settings.postgres, autocommit=True) as watcher:
        holder.execute(f"lock table {table}".encode())
        if table == "shop.profiles":  # which is written only where something became known
            labels.label(settings.postgres, "t", is_fraud=True)
        waiting = "select from pg_locks where not granted and relation = %s::regclass"
        wait_until(lambda: bool(watcher.execute(waiting, (table,)).fetchall()), "wait for the lock")
        yield


def ended(process: "psutil.Popen") -> int:
    """Its exit code after SIGTERM."""
    process.send_signal(signal.SIGTERM)
    return int(process.wait(STOP_SECONDS))


def test_a_locked_table_does_not_keep_a_consumer_from_stopping(
    settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    migrate(settings.postgres)
    with log.open("ab") as output:
        command = [sys.executable, "-m", "fraudstream", "consume", "transactions"]
        process = psutil.Popen(command, env=environment, cwd=tmp_path, stdout=output, stderr=output)
    try:
        wait_until(lambda: "reading" in log.read_text(), "start", log)
        with held(settings):
            assert ended(process) == 130
    finally:
        kill(process)
    assert "This is a bug" not in log.read_text()


@pytest.mark.parametrize("table", ["shop.labels", "shop.profiles", "shop.transactions"])
def test_a_locked_table_does_not_keep_a_consumer_that_folds_labels_from_stopping(
    spark: "SparkSession", settings: Settings, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "LABEL_SECONDS", 0.5)
    migrate(settings.postgres)
    store(settings.postgres, [messages([transaction("t", Random(1))])])
    stop, monitor = threading.Event(), ConsumeMonitor()
    consumer = Consumer(spark, settings.kafka, settings.postgres, settings.spark, monitor=monitor)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(consumer.run, ("transactions", "profiles"), once=False, stop=stop)
        try:
            wait_until(lambda: running.done() or monitor.health().ok, "consumer that runs", seconds=60)
            with held(settings, table):
                stop.set()
                assert running.result(STOP_SECONDS).interrupted
        finally:
            stop.set()


def test_labels_are_folded_once_a_locked_table_is_free_again(
    spark: "SparkSession",
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The stream itself goes on."""
    monkeypatch.setattr(consumers, "LABEL_SECONDS", 0.5)
    migrate(settings.postgres)
    store(settings.postgres, [messages([transaction("t", Random(1))])])
    folded = "select from shop.labels where folded_at is not null"
    stop, monitor = threading.Event(), ConsumeMonitor()
    consumer = Consumer(spark, settings.kafka, settings.postgres, settings.spark, monitor=monitor)
    with ThreadPoolExecutor(1) as pool, connect(settings.postgres, autocommit=True) as watcher:
        running = pool.submit(consumer.run, ("transactions", "profiles"), once=False, stop=stop)
        try:
            wait_until(lambda: running.done() or monitor.health().ok, "consumer that runs", seconds=60)
            with held(settings, "shop.profiles"):
                wait_until(lambda: "took too long" in caplog.text, "word of the lock", seconds=30)
            wait_until(lambda: bool(watcher.execute(folded).fetchall()), "folded label", seconds=30)
        finally:
            stop.set()
        assert running.result().restarts == 0


@pytest.mark.parametrize("table", ["shop.stream_progress", "shop.profiles"])
def test_a_locked_table_does_not_keep_a_scorer_from_stopping(
    settings: Settings, environment: dict[str, str], tmp_path: Path, table: str
) -> None:
    """How far it came is lost only where that is the table that nobody can write."""
    log = tmp_path / "log"
    migrate(settings.postgres)
    promote(settings.postgres, "first")
    kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 1)
    with scorer(environment, log) as process, held(settings, table):
        assert ended(process) == 130
    lost = "the next start will score some messages again" in log.read_text()
    assert lost is (table == "shop.stream_progress")
