"""A password file that is empty for a moment, as while it is written anew: what runs goes on."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from fraudstream import kafka
from fraudstream.metrics import ConsumeMonitor
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.spark.consumer import Consumer, Summary
from fraudstream.spark.keeper import Keeper
from fraudstream.spark.scoring import Scoring
from fraudstream.store import registry
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate
from live_scorer import promote
from samples import message
from waiting import running, wait_until

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def password(settings: Settings, tmp_path: Path) -> Path:
    """A file with the password of this test's PostgreSQL."""
    secret = settings.postgres.secret()
    assert secret is not None
    file = tmp_path / "password"
    file.write_text(secret.get_secret_value())
    return file


@pytest.fixture
def postgres(settings: Settings, password: Path) -> PostgresSettings:
    """This test's PostgreSQL, with its password in the file."""
    return settings.postgres.model_copy(update={"password": None, "password_file": password})


def test_a_scorer_goes_on_while_the_password_file_is_empty(
    spark: "SparkSession", postgres: PostgresSettings, password: Path
) -> None:
    """As while PostgreSQL is away: by the profiles that it has."""
    migrate(postgres)
    promote(postgres, "first")
    keeper = Keeper(postgres, lambda model: Scoring(spark, model), registry.opened(postgres))
    try:
        secret, before = password.read_text(), keeper.basis
        password.write_text("")
        wait_until(lambda: keeper.is_away, "word of a database that cannot be asked")
        password.write_text(secret)
        keeper.ask()
        wait_until(lambda: not keeper.is_away and keeper.basis is not before, "newer profiles")
    finally:
        keeper.close()


def stored(settings: Settings) -> int:
    with connect(settings.postgres) as connection:
        return len(connection.execute("select from shop.transactions").fetchall())


def test_a_consumer_goes_on_while_the_password_file_is_empty(
    spark: "SparkSession", settings: Settings, postgres: PostgresSettings, password: Path
) -> None:
    """It waits as for a PostgreSQL that is away, and stores what came meanwhile."""
    topic = kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 1)
    producer = Producer(kafka.client_config(settings.kafka) | {"log_level": "0"})
    secret, monitor = password.read_text(), ConsumeMonitor()
    locked = settings.model_copy(update={"postgres": postgres})
    consumer = Consumer(spark, locked, monitor=monitor)

    def consume(stop: threading.Event) -> Summary:
        return consumer.run(("transactions",), once=False, stop=stop)

    with running(consume, lambda: monitor.health().ok) as (begun, stop):
        password.write_text("")
        wait_until(lambda: begun.done() or not monitor.health().ok, "word of the file")
        producer.produce(topic.name, message(transaction_id="t"))
        assert producer.flush(30) == 0
        assert not begun.done(), begun.exception()
        password.write_text(secret)
        wait_until(lambda: begun.done() or stored(settings) == 1, "row of the message")
        stop.set()
        begun.result()
    assert stored(settings) == 1
