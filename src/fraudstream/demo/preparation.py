"""Prepares the demo's stream: weeks of history in the tables, and a model trained on it.

It may be interrupted anywhere: the next run continues from what is there.
"""

import threading
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fraudstream.demo.crowd import Crowd, Stage
from fraudstream.demo.view import Watcher
from fraudstream.errors import DeliveryError, ServiceError
from fraudstream.kafka import bounds, ensure_topic
from fraudstream.logs import get_logger
from fraudstream.producer.delivery import Report, deliver
from fraudstream.producer.sender import LINGER_FAST_MS, Sender
from fraudstream.settings import KafkaSettings, Settings
from fraudstream.signals import Interrupt, heard, interrupt
from fraudstream.simulate.world import customers_of, name_of
from fraudstream.store import registry, training_rows
from fraudstream.store.glance import payments_span
from fraudstream.store.targets import TARGETS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from fraudstream.store.registry import Registered

log = get_logger("demo")

ALERT_RATE = 0.02
"""The alert budget of the demo's model, equal to its share of fraud: about one alert in four seconds."""
QUICK = {"learning_rate": 0.1, "max_iter": 60, "l2_regularization": 20.0}
"""Parameters with which boosting takes 8 s: on the demo's data as good as the grid of `train`, which takes far longer."""


def alone(settings: Settings) -> AbstractContextManager[int]:
    """Two demos at once would send the same payments into the same topic, and count each other's. Raises ServiceError."""
    from fraudstream.local.home import Home, sole

    home = Home.of(settings)
    home.prepare()
    held = ServiceError(
        f"Another demo is running in {home.root}.",
        hint="Stop that one, or set FRAUDSTREAM_HOME to another directory for this one.",
    )
    return sole(home.running("demo"), "the demo", held, 0)


def prepare(
    spark: "SparkSession", settings: Settings, crowd: Crowd, watcher: Watcher, stop: threading.Event
) -> tuple[Stage, "Registered"]:
    """The customers at the end of their history, and the champion, both reused from an earlier run.

    Raises KeyboardInterrupt if `stop` was set meanwhile: a model of half a history would stay champion.
    """
    if _is_used(settings.kafka):
        # First store what an earlier run sent: only then the tables show how far its history goes.
        _store(spark, settings, watcher, stop)
    # Only of this crowd: payments of another seed, or from `produce`, are not history of these customers.
    lived = payments_span(settings.postgres, customers_of(name_of(crowd.seed, crowd.users)))
    stage = Stage(crowd, datetime.now(UTC), lived)
    if stage.history_days:
        _live_through(settings, stage, watcher, stop)
        _store(spark, settings, watcher, stop)
    else:
        log.info("history exists already: the stream continues from it")
    model = _learn(settings, watcher, stop)
    heed(stop)
    return stage, model


def heed(stop: threading.Event) -> None:
    """Raise KeyboardInterrupt if the demo is stopped before its stream has begun, and log how to continue."""
    if stop.is_set():
        log.warning(
            "interrupted before the stream began: `fraudstream demo` continues from here, `fraudstream reset` deletes what exists"
        )
        raise KeyboardInterrupt


def check(report: Report) -> None:
    """Raise DeliveryError if payments were not delivered."""
    if report.failed:
        raise DeliveryError(
            f"Kafka did not acknowledge {report.failed:,} payments.", hint="Run `fraudstream doctor`."
        )


def _is_used(kafka: KafkaSettings) -> bool:
    """Whether anything was ever sent to the topic."""
    topic = ensure_topic(kafka, kafka.transactions_topic)
    return any(bound.end for bound in bounds(kafka, topic).values())


def _live_through(settings: Settings, stage: Stage, watcher: Watcher, stop: threading.Event) -> None:
    """Send the history."""
    with watcher.step(
        f"{stage.crowd.users:,} customers: simulating {stage.history_days} days of payments", 8
    ):
        sink = Sender(settings.kafka, settings.kafka.transactions_topic, stop, linger_ms=LINGER_FAST_MS)
        check(deliver(stage.history(), sink, stop))
    heed(stop)


def _store(spark: "SparkSession", settings: Settings, watcher: Watcher, stop: threading.Event) -> None:
    """Store everything that was sent in the tables."""
    from fraudstream.spark.consume import consume

    with watcher.step("Storing the payments and building every customer's profile", 20):
        stored = consume(spark, settings, tuple(TARGETS), once=True, stop=stop)
    # The consumer logs what it has stored every few seconds, and leaves the end to its caller.
    log.info("stored %s rows in all", f"{stored.rows:,}")
    heed(stop)


def _learn(settings: Settings, watcher: Watcher, stop: threading.Event) -> "Registered":
    """The champion; if there is none, train one on the history."""
    champion = registry.find(settings.postgres)
    if champion is not None:
        return champion
    with watcher.step("Training a model, and evaluating it on later days", 15):
        from fraudstream.model import packing, training

        rows = training_rows.transactions(settings.postgres)
        request = training.Request(
            "gradient_boosting",
            label_delay_days=settings.model.label_delay_days,
            alert_rate=ALERT_RATE,
            parameters=QUICK,
        )
        try:
            with heard(interrupt):  # at once: there is nothing to be finished first
                trained = training.train(rows, request, {"database": settings.postgres.database})
        except Interrupt:
            stop.set()
            heed(stop)
            raise
        made = registry.register(settings.postgres, trained.report, packing.pack(trained.files))
        return registry.promote(settings.postgres, made.version)
