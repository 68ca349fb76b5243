"""Profiles through real Kafka and Spark: several partitions at once, repeats, labels, and each target alone."""

import threading
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

from fraudstream.features.catalogue import COUNTERS
from fraudstream.features.profiles import combine, fold, fold_labels
from fraudstream.settings import Settings
from fraudstream.spark.consumer import Consumer, Summary
from fraudstream.store.training_rows import transactions
from profile_world import stored_profiles, transaction
from same_profiles import assert_same
from sending import send, spread

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def consume(spark: "SparkSession", settings: Settings, *targets: str) -> Summary:
    small = settings.spark.model_copy(update={"rows_per_batch": 100})
    consumer = Consumer(spark, settings.model_copy(update={"spark": small}))
    return consumer.run(targets, once=True, stop=threading.Event())


def test_consume_all_remembers_every_transaction_and_every_known_truth(
    spark: "SparkSession", settings: Settings
) -> None:
    """The same users and merchants in four partitions, ids that repeat, one message of the year 9999, one of today."""
    chance = Random(1)
    values = [transaction(f"t{i % 550}", chance, is_fraud=i % 550 % 3 == 0) for i in range(600)]
    today = datetime.now(UTC) - timedelta(hours=1)
    values += [
        transaction("mad", chance, timestamp="9999-12-31T00:00:00Z"),
        transaction("today", chance, timestamp=today.isoformat(), is_fraud=1),
    ]
    send(settings, spread(values))
    summary = consume(spark, settings, "fraud", "profiles", "transactions")
    assert (summary.stored["profiles"], summary.duplicates["profiles"]) == (551, 50)
    assert summary.from_future == 1
    rows = transactions(settings.postgres, until=datetime.now(UTC))
    known = transactions(settings.postgres, until=today)
    assert (rows.num_rows, known.num_rows) == (551, 550)
    assert_same(stored_profiles(settings.postgres), combine([fold(rows), fold_labels(known)]), COUNTERS)


def test_profiles_are_folded_alone(spark: "SparkSession", settings: Settings) -> None:
    """`consume profiles`, then everything: what was folded is not folded again, and truth follows with the tables."""
    chance = Random(2)
    send(settings, spread([transaction(f"t{i}", chance, is_fraud=0) for i in range(200)]))
    first = consume(spark, settings, "profiles")
    assert (first.stored, first.duplicates, first.from_future) == ({"profiles": 200}, {"profiles": 0}, 0)
    summary = consume(spark, settings, "fraud", "profiles", "transactions")
    assert (summary.stored["transactions"], summary.stored["profiles"]) == (200, 0)
    rows = transactions(settings.postgres)
    assert_same(stored_profiles(settings.postgres), combine([fold(rows), fold_labels(rows)]), COUNTERS)
