"""Where the benchmarks of streams play: a database and a topic of their own, Spark, a clock and a meter of CPU time."""

import contextlib
import json
import os
import secrets
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import psutil
from psycopg import sql

from fraudstream import kafka as kafka_clients
from fraudstream.local import services
from fraudstream.local.jars import JarSet, ensure, spark_jars
from fraudstream.local.java import find_java
from fraudstream.micros import SECOND
from fraudstream.producer.delivery import deliver, limited
from fraudstream.producer.pace import FASTEST
from fraudstream.producer.sender import LINGER_FAST_MS, Sender
from fraudstream.producer.simulated import Plan, simulated
from fraudstream.settings import KafkaSettings, Settings, load
from fraudstream.simulate import World
from fraudstream.spark import session
from fraudstream.spark.consumer import Consumer, Summary
from fraudstream.spark.scratch import scratch as spark_files
from fraudstream.store.connection import connect

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TABLES = ("fraud", "transactions")
ALL = ("fraud", "profiles", "transactions")
JDBC = JarSet(
    "benchmark-postgresql-42.7.7",
    "the JDBC driver of PostgreSQL",
    (("org.postgresql", "postgresql", "42.7.7"),),
)


@contextlib.contextmanager
def scratch() -> Iterator[Settings]:
    """The settings in force with a database and a topic of this run's own, removed at its end."""
    settings, name = load(), f"bench_{secrets.token_hex(4)}"
    with connect(settings.postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    try:
        yield settings.model_copy(
            update={
                "kafka": settings.kafka.model_copy(update={"transactions_topic": name}),
                "postgres": settings.postgres.model_copy(update={"database": name}),
            }
        )
    finally:
        remove_topic(settings.kafka, name)
        with connect(settings.postgres, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def environment(settings: Settings) -> dict[str, str]:
    """In which a program reads and writes where this benchmark does."""
    kafka, postgres = settings.kafka, settings.postgres
    # The whole address: without a host the embedded services would choose the database, which is not ours to empty.
    place = {
        "FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS": str(kafka.bootstrap_servers),
        "FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC": kafka.transactions_topic,
        "FRAUDSTREAM_POSTGRES__HOST": str(postgres.host),
        "FRAUDSTREAM_POSTGRES__PORT": str(postgres.port),
        "FRAUDSTREAM_POSTGRES__USER": postgres.user,
        "FRAUDSTREAM_POSTGRES__DATABASE": postgres.database,
    }
    if postgres.password_file:
        place["FRAUDSTREAM_POSTGRES__PASSWORD_FILE"] = str(postgres.password_file)
    return os.environ | place


def remove_topic(kafka: KafkaSettings, name: str) -> None:
    """Delete a topic; one that is missing, as the run failed early, is deleted already."""
    from confluent_kafka import KafkaError, KafkaException

    client = kafka_clients.admin(kafka)  # held until the answer is there
    try:
        client.delete_topics([name])[name].result(30)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise


@contextlib.contextmanager
def topic(settings: Settings, partitions: int) -> Iterator[Settings]:
    """The same settings with a new topic of so many partitions."""
    name = f"bench_{secrets.token_hex(4)}"
    update = {"transactions_topic": name, "partitions": partitions}
    try:
        yield settings.model_copy(update={"kafka": settings.kafka.model_copy(update=update)})
    finally:
        remove_topic(settings.kafka, name)


def fill(settings: Settings, count: int) -> None:
    """Put `count` simulated transactions into the topic."""
    kafka_clients.ensure_topic(settings.kafka, settings.kafka.transactions_topic)
    stop = threading.Event()
    plan = Plan(start=int(time.time()) * SECOND, fraud_rate=0.005, rate=FASTEST)
    sender = Sender(settings.kafka, settings.kafka.transactions_topic, stop, linger_ms=LINGER_FAST_MS)
    report = deliver(limited(simulated(World(), plan), count), sender, stop)
    assert (report.sent, report.failed) == (count, 0)


def messages(count: int) -> list[bytes]:
    """So many simulated transactions, as they would stand in a topic."""
    plan = Plan(start=int(time.time()) * SECOND, fraud_rate=0.005, rate=FASTEST)
    return [value for batch in limited(simulated(World(), plan), count) for value in batch.values]


@contextlib.contextmanager
def spark_session(settings: Settings) -> Iterator["SparkSession"]:
    """Spark as `consume` has it, and the JDBC driver for others."""
    with spark_files() as place:
        spark = session.start(
            settings.spark,
            name="benchmark",
            java_home=find_java().home,
            jars=[*spark_jars(settings), *ensure(JDBC, settings)],
            log_file=Path(tempfile.gettempdir()) / f"fraudstream-benchmark-{os.getpid()}.log",
            scratch=place,
        )
        try:
            yield spark
        finally:
            spark.stop()


def consume(
    spark: "SparkSession", settings: Settings, targets: Sequence[str], *, fresh: bool = True
) -> tuple[Summary, "Batches"]:
    """What `fraudstream consume --once` does, into an empty database where `fresh`, and its micro-batches."""
    if fresh:
        with connect(settings.postgres) as connection:
            connection.execute("drop schema if exists shop cascade")
    with Batches(spark) as batches:
        consumer = Consumer(spark, settings)
        summary = consumer.run(tuple(targets), once=True, stop=threading.Event())
        batches.wait_for(summary.rows)
    return summary, batches


class _Reports:
    """Takes each report of a batch as one document.

    PySpark's own listener asks Java for every field of it, by reflection: a thirtieth of all CPU of a stream as fast as ours.
    """

    def __init__(self, take: Callable[[dict[str, Any]], None]) -> None:
        self._take = take

    def onQueryStarted(self, event: Any) -> None: ...  # noqa: N802
    def onQueryIdle(self, event: Any) -> None: ...  # noqa: N802
    def onQueryTerminated(self, event: Any) -> None: ...  # noqa: N802
    def onQueryProgress(self, event: Any) -> None:  # noqa: N802
        self._take(json.loads(event.progress().json()))

    class Java:
        implements = ("org.apache.spark.sql.streaming.PythonStreamingQueryListener",)


class Batches:
    """Rows and seconds of every micro-batch, by query, as Spark itself reports them."""

    def __init__(self, spark: "SparkSession") -> None:
        self.seen = defaultdict[str, list[tuple[int, float]]](list)
        jvm: Any = spark.sparkContext._jvm  # noqa: SLF001 - the way to the JVM
        wrapper = jvm.org.apache.spark.sql.streaming.PythonStreamingQueryListenerWrapper
        self._spark = spark
        self._listener: Any = SimpleNamespace(_jlistener=wrapper(_Reports(self._take)))

    def _take(self, progress: dict[str, Any]) -> None:
        if rows := planned(progress):
            self.seen[progress["runId"]].append((rows, progress["durationMs"]["triggerExecution"] / 1000))

    def __enter__(self) -> Self:
        self._spark.streams.addListener(self._listener)
        return self

    def __exit__(self, *_: object) -> None:
        self._spark.streams.removeListener(self._listener)

    def wait_for(self, rows: int) -> None:
        """Progress arrives on a bus of its own, somewhat after the query has ended."""
        deadline = time.monotonic() + 60
        while sum(r for b in self.seen.values() for r, _ in b) < rows:
            assert time.monotonic() < deadline, f"Spark reported {self.seen}"
            time.sleep(0.05)

    def steady(self) -> float:
        """Rows a second of the slowest query, without its first batch, which compiles and connects."""
        return min(map(rate, self.seen.values()))


def planned(progress: dict[str, Any]) -> int:
    """Messages of a batch, of a topic that was read from 0 on; Spark counts those alone that its own source reads."""
    (source,) = progress["sources"]
    return _messages(source["endOffset"]) - _messages(source["startOffset"])


def _messages(offsets: dict[str, dict[str, int]] | None) -> int:
    return sum(offset for partitions in (offsets or {}).values() for offset in partitions.values())


def rate(batches: Sequence[tuple[int, float]]) -> float:
    """Rows a second without the first batch, and without one of a few rows that were left at the end."""
    full = max(rows for rows, _ in batches)
    rest = [batch for batch in batches[1:] if batch[0] * 2 > full] or batches
    return sum(rows for rows, _ in rest) / sum(seconds for _, seconds in rest)


class Cpu:
    """CPU seconds of this process, what it started, and the embedded services, while the block ran, by part."""

    def __init__(self, settings: Settings) -> None:
        running = services.status(settings)
        self._roots = [psutil.Process(), *(psutil.Process(pid) for pid in _pids(running))]
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._before = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = {part: seconds - self._before[part] for part, seconds in self._now().items()}

    def each(self, rows: int) -> dict[str, float]:
        """Microseconds for each row, by part and together."""
        parts = {part: seconds / rows * 1e6 for part, seconds in self.seconds.items()}
        return {**parts, "total": sum(parts.values())}

    def _now(self) -> dict[str, float]:
        found = defaultdict[str, float](float)
        for root in self._roots:
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.Error):  # it ended; its parent has its time
                    times = process.cpu_times()
                    found[part(process)] += (
                        times.user + times.system + times.children_user + times.children_system
                    )
        return found


def part(process: psutil.Process) -> str:
    """What a process is to a stream."""
    name, command = process.name(), " ".join(process.cmdline())
    if name.startswith("java"):  # first, as Spark's own command line names the module of the workers
        return "broker" if "kafka.Kafka" in command else "Java"
    if "spark.daemon" in command:  # PySpark's own and ours
        return "Python workers"
    return "PostgreSQL" if name.startswith("postgres") else "driver"


def _pids(status: dict[str, Any]) -> list[int]:
    return [status[name]["pid"] for name in ("kafka", "postgres") if status[name].get("pid")]
