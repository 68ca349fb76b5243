"""Services that are really killed under a running consumer: afterwards the tables hold what was sent, id by id."""

import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fault_world import Sender, assert_exact, await_progress, consuming, end, in_batches, progress
from fraudstream.local.home import Home
from fraudstream.local.kafka import EmbeddedKafka
from fraudstream.local.postgres import EmbeddedPostgres
from fraudstream.settings import Settings
from fraudstream.store import held
from live_scorer import command
from waiting import wait_until

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def topic(breakable: Any) -> Iterator[Settings]:
    """The breakable services with a topic and tables of this test's own."""
    settings: Settings = breakable.emptied(transactions_topic=f"breakable-{secrets.token_hex(4)}")
    yield settings
    held.close(settings.postgres)


def test_postgres_stopped_at_once_five_times_loses_nothing(
    breakable: Any, topic: Settings, tmp_path: Path
) -> None:
    """`stop -m immediate` in the middle of batches; the consumer waits for the server and goes on by itself."""
    sender, server, log = Sender(topic), EmbeddedPostgres(Home.of(breakable.home)), tmp_path / "log"
    environment = breakable.environment | {
        "FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC": topic.kafka.transactions_topic,
        "FRAUDSTREAM_SPARK__ROWS_PER_BATCH": "1000",
    }
    with command(environment, log, "consume") as process:
        with sender.running():
            for _ in range(5):
                before = progress(topic)
                wait_until(lambda b=before: progress(topic) > b + 1000, "progress", log)  # type: ignore[misc]
                postmaster = server.process()
                assert postmaster is not None
                postmaster.send(signal.SIGQUIT)
                assert postmaster.wait(30)
                breakable.up()
        wait_until(lambda: progress(topic) == sender.done, "end of the topic", log)
        assert end(process) == 130, log.read_text()
    assert "does not answer" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert_exact(topic, sender)


def test_a_killed_broker_loses_nothing(spark: "SparkSession", breakable: Any, topic: Settings) -> None:
    """Kill -9 of the broker in the middle of batches; the consumer goes on when it is back."""
    sender, broker = Sender(topic), EmbeddedKafka(Home.of(breakable.home))
    with consuming(spark, in_batches(topic, 1000)) as running:
        with sender.running():
            wait_until(lambda: running.done() or progress(topic) > 1000, "progress")
            found = broker.process()
            assert found is not None
            found.send(signal.SIGKILL)
            assert found.wait(30)
            breakable.up()
            before = progress(topic)
            wait_until(lambda: running.done() or progress(topic) > before + 1000, "progress")
        await_progress(topic, running, sender.done)
    assert running.result().interrupted
    assert_exact(topic, sender)
