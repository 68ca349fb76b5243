"""Somebody presses Ctrl-C while the demo prepares, at any of its steps, and starts it again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fraudstream import kafka
from fraudstream.demo.crowd import Crowd
from fraudstream.demo.preparation import prepare
from fraudstream.demo.view import Scene
from fraudstream.settings import ModelSettings, Settings
from fraudstream.store import registry
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CROWD = Crowd(users=300)
LIVE, STORE, LEARN = "simulating", "Storing", "Training"


class Impatient:
    """Watches, and presses Ctrl-C when a step begins."""

    def __init__(self, at: str | None) -> None:
        self.at, self.stop, self.steps = at, threading.Event(), list[str]()

    @contextmanager
    def step(self, doing: str, usual_seconds: float) -> Iterator[None]:
        """Note the step."""
        assert usual_seconds
        self.steps.append(doing)
        if self.at and self.at in doing:
            self.stop.set()
        yield

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Nothing is prepared for that here."""
        yield

    def show(self, scene: Scene) -> None:
        """Never: the stream does not begin."""


def seen(spark: "SparkSession", settings: Settings, at: str | None, crowd: Crowd = CROWD) -> list[str]:
    """The steps that somebody sees who presses Ctrl-C at one of them, or lets it be."""
    watcher = Impatient(at)
    if at is None:
        prepare(spark, settings, crowd, watcher, watcher.stop)
    else:
        with pytest.raises(KeyboardInterrupt):
            prepare(spark, settings, crowd, watcher, watcher.stop)
    return watcher.steps


def test_a_demo_that_is_interrupted_while_it_prepares_goes_on_with_the_next_run_of_the_same_customers(
    spark: "SparkSession", settings: Settings
) -> None:
    """It trained on whatever was there, and the model of half a history was champion for good.

    The model learns with the label delay that its consumer and its scorer have, whatever it is set to.
    The payments of other customers are not the demo's history.
    """
    settings = settings.model_copy(update={"model": ModelSettings(label_delay_days=3)})
    migrate(settings.postgres)
    kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic)
    (first,) = seen(spark, settings, LIVE)
    assert first == "300 customers: simulating 14 days of payments"

    (again,) = seen(spark, settings, STORE)
    assert again.startswith(STORE), "one day is sent and none is stored"
    assert registry.find(settings.postgres) is None

    stored, lacking, stored_too, learnt = seen(spark, settings, LEARN)
    assert stored.startswith(STORE)
    assert lacking == "300 customers: simulating 13 days of payments"
    assert stored_too.startswith(STORE)
    assert learnt.startswith(LEARN)
    champion = registry.find(settings.postgres)
    assert champion is not None
    assert champion.manifest["label_delay_days"] == 3

    (rest,) = seen(spark, settings, None)
    assert rest.startswith(STORE)
    assert registry.find(settings.postgres) == champion
    with connect(settings.postgres) as connection:
        days = connection.execute(
            "select width_bucket(extract(epoch from timestamp - (select min(timestamp) from shop.transactions)), 0, 14 * 86400, 14),"
            " count(*) from shop.transactions group by 1 order by 1"
        ).fetchall()
    # Two payments of each customer a day, of which no day has twice as many.
    assert len(days) in (14, 15)
    assert all(300 < count < 1000 for _, count in days[:14]), days

    # After `demo`, `demo --seed 7` streamed customers of whom nothing was stored; so did a demo after `produce`.
    stored, lived = seen(spark, settings, LIVE, replace(CROWD, seed=7))
    assert stored.startswith(STORE)
    assert lived == "300 customers: simulating 14 days of payments"
