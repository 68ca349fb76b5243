"""The `consume` command: a query for each topic, running concurrently."""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from fraudstream import kafka as kafka_clients
from fraudstream.metrics import ConsumeMonitor, served
from fraudstream.rules import Rule, load_rules
from fraudstream.settings import Settings, load
from fraudstream.signals import stop_on_signals
from fraudstream.spark.command import spark_session
from fraudstream.spark.consumer import Consumer, Summary
from fraudstream.store.migrate import migrate
from fraudstream.store.targets import by_topic

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


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
        done, unfinished = wait(running, return_when=FIRST_EXCEPTION)
        if unfinished:
            stop.set()
    failed = [query for query in (*done, *unfinished) if query.exception()]
    if failed:
        failed[0].result()
    together = Summary(targets=targets)
    for summary in (query.result() for query in running):
        together.add(summary)
        together.restarts += summary.restarts
        together.interrupted |= summary.interrupted
    together.seconds = time.monotonic() - began
    return together
