"""The `consume` command: a query for each topic, running concurrently."""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Final

from fraudstream import kafka as kafka_clients
from fraudstream.logs import get_logger
from fraudstream.metrics import ConsumeMonitor, served
from fraudstream.rules import Rule, load_rules
from fraudstream.settings import Settings, load
from fraudstream.signals import stop_on_signals
from fraudstream.spark.command import spark_session
from fraudstream.spark.consumer import Consumer, Summary
from fraudstream.store.connection import abandon
from fraudstream.store.migrate import migrate
from fraudstream.store.targets import by_topic

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = get_logger("consume")

LEAVE_SECONDS: Final = 15.0
"""How long a stop waits for PostgreSQL: longer than for a batch (`stopping.FINISH_SECONDS`), and with the rest of the
command shorter than the 30 s after which a supervisor kills it."""
LOOK_SECONDS: Final = 1.0
"""Seconds between two looks at whether a stop was requested."""


def patience(settings: Settings) -> float:
    """Seconds after which `consume` counts as stalled: longer than a pause or a long batch of a healthy one.

    >>> patience(Settings(_env_file=None, spark={"trigger_seconds": 60}))
    150.0
    """
    return settings.metrics.stalled_seconds + settings.spark.trigger_seconds + settings.spark.batch_seconds


def run_consumer(
    targets: tuple[str, ...], flags: Mapping[str, dict[str, Any]], *, once: bool, accept_loss: bool
) -> Summary:
    """Consume with the settings in force; see `consume`. Errors in these are raised before Spark starts."""
    settings = load(**flags)
    rules = load_rules(settings.score.rules) if settings.score.rules and "scores" in targets else ()
    migrate(settings.postgres)
    for topic in by_topic(settings.kafka, targets):
        kafka_clients.ensure_topic(settings.kafka, topic, like=settings.kafka.transactions_topic, reads=True)
    monitor = ConsumeMonitor(patience(settings))
    with (
        served(settings.metrics, monitor.health, monitor.registry),
        spark_session(settings, "consume", brief=once) as spark,
        stop_on_signals() as stop,
    ):
        return consume(
            spark,
            settings,
            targets,
            once=once,
            stop=stop,
            accept_loss=accept_loss,
            rules=rules,
            monitor=monitor,
        )


def consume(  # noqa: PLR0913 - what a command line says
    spark: "SparkSession",
    settings: Settings,
    targets: tuple[str, ...],
    *,
    once: bool,
    stop: threading.Event,
    accept_loss: bool = False,
    rules: Sequence[Rule] = (),
    monitor: ConsumeMonitor | None = None,
) -> Summary:
    """Store targets of any topics: a query for each topic, running concurrently; see `Consumer.run`.

    If one fails, the others are stopped (`stop` is set), and its error is raised.
    """
    began = time.monotonic()

    def run(names: tuple[str, ...]) -> Summary:
        consumer = Consumer(spark, settings, rules=rules, monitor=monitor)
        return consumer.run(names, once=once, stop=stop, accept_loss=accept_loss)

    groups = by_topic(settings.kafka, targets).values()
    with ThreadPoolExecutor(len(groups)) as pool:
        running = [pool.submit(run, names) for names in groups]
        failed = _first_failure(running, stop)
    if failed is not None:
        failed.result()
    together = Summary(targets=targets)
    for summary in (query.result() for query in running):
        together.add(summary)
        together.restarts += summary.restarts
        together.interrupted |= summary.interrupted
    together.seconds = time.monotonic() - began
    return together


def _first_failure(running: "Sequence[Future[Summary]]", stop: threading.Event) -> "Future[Summary] | None":
    """Wait until all have ended, and stop the others once one has failed; returns that one, if any.

    Those that a stop finds waiting for a PostgreSQL that hangs would wait on: they go without its answer.
    """
    failed, asked_at = None, 0.0
    while unfinished := [query for query in running if not query.done()]:
        wait(unfinished, LOOK_SECONDS, return_when=FIRST_COMPLETED)
        failed = failed or _failure(running)
        if failed is not None:
            stop.set()
        if stop.is_set():
            asked_at = asked_at or time.monotonic()
            if time.monotonic() - asked_at > LEAVE_SECONDS:
                log.warning("PostgreSQL does not answer: stopping without it.")
                abandon()
                asked_at = time.monotonic()
    return failed or _failure(running)


def _failure(running: "Sequence[Future[Summary]]") -> "Future[Summary] | None":
    return next((query for query in running if query.done() and query.exception()), None)
