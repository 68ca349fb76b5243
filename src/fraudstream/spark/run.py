"""From a command line to a running stream: settings, Java, jars, session, signals."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fraudstream import kafka as kafka_clients
from fraudstream import signals
from fraudstream.errors import StreamError
from fraudstream.logs import get_logger
from fraudstream.metrics import Storing, served
from fraudstream.rules import Rule, load_rules
from fraudstream.settings import Settings, load
from fraudstream.spark.consumer import Consumer, Summary
from fraudstream.store.migrate import migrate
from fraudstream.store.targets import by_topic

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = get_logger("spark")

JVM_SECONDS = 2.0
"""A process that was killed closes its sockets a moment before it counts as ended."""


@contextmanager
def spark_session(
    settings: Settings,
    name: str,
    conf: Mapping[str, str] = MappingProxyType({}),
    *,
    brief: bool = False,
) -> Iterator["SparkSession"]:
    """A session for one command, stopped at its end. Raises JavaMissing, JarsMissing, StreamError.

    StreamError, too, where the JVM dies under what runs inside. A `brief` one ends by itself, and leaves to later ones
    what they start quicker from.
    """
    from py4j.protocol import Py4JError

    from fraudstream.local import classes
    from fraudstream.local.jars import spark_jars
    from fraudstream.local.java import find_java
    from fraudstream.spark import session
    from fraudstream.spark.scratch import scratch

    java = find_java()
    jars = spark_jars(settings)
    log.info("starting Spark at %s", settings.spark.master)
    log_file = settings.home / "logs" / f"spark-{name}.log"
    archive = classes.options(settings.jar_cache, java.binary, session.own_jars(), write=brief)
    with scratch() as place:
        spark = session.start(
            settings.spark,
            name=name,
            java_home=java.home,
            jars=jars,
            log_file=log_file,
            conf=conf,
            java_options=(f"-Djava.io.tmpdir={place}", *archive),
        )
        try:
            yield spark
        except (Py4JError, ConnectionError, StreamError) as error:
            if not session.ended(spark, JVM_SECONDS):
                raise
            raise StreamError(
                "Spark's Java process is gone: somebody killed it, or it ran out of memory.",
                hint=f"Start the command again, it goes on where it stood; {log_file} may say more."
                " FRAUDSTREAM_SPARK__DRIVER_MEMORY gives it more memory.",
            ) from error
        finally:
            session.stop(spark)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and a closed terminal set, so that a stream ends between two steps and not in one.

    Taken after Spark has started, as Spark installs a handler of its own that would cancel its jobs.
    """
    stop = threading.Event()
    with signals.heard(lambda *_: signals.ask(stop)):
        yield stop


def patience(settings: Settings) -> float:
    """Seconds after which `consume` counts as stalled: a pause and a long batch are no fault of a healthy one.

    >>> patience(Settings(_env_file=None, spark={"trigger_seconds": 60}))
    150.0
    """
    return settings.metrics.stalled_seconds + settings.spark.trigger_seconds + settings.spark.batch_seconds


def run_consumer(
    targets: tuple[str, ...], flags: Mapping[str, dict[str, Any]], *, once: bool, accept_loss: bool
) -> Summary:
    """Consume with the settings in force; see `consume`. What can be wrong is found before Spark starts."""
    settings = load(**flags)
    rules = load_rules(settings.score.rules) if settings.score.rules and "scores" in targets else ()
    migrate(settings.postgres)
    for topic in by_topic(settings.kafka, targets):
        kafka_clients.ensure_topic(settings.kafka, topic, like=settings.kafka.transactions_topic)
    monitor = Storing(patience(settings))
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
    monitor: Storing | None = None,
) -> Summary:
    """Store targets of any topics: a query for each topic, side by side; see `Consumer.run`.

    Where one fails the others are stopped (`stop` is set), and its error is raised.
    """
    began = time.monotonic()

    def run(names: tuple[str, ...]) -> Summary:
        consumer = Consumer(
            spark,
            settings.kafka,
            settings.postgres,
            settings.spark,
            settings.model,
            rules=rules,
            monitor=monitor,
        )
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
    together = Summary(targets)
    for summary in (query.result() for query in running):
        together.add(summary)
        together.restarts += summary.restarts
        together.interrupted |= summary.interrupted
    together.seconds = time.monotonic() - began
    return together
