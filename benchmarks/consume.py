"""Rows a second from Kafka into PostgreSQL: `consume all` beside the textbook pair of Spark JDBC consumers.

Both read the same topic in the same Spark session, in turns. The textbook is two queries with `from_json`, a filter on
`is_fraud` and a JDBC append into tables without a key; it loses or doubles rows when it is killed. Ours has the
primary key, keeps bad messages and is exactly once. A second part measures how long a micro-batch of 100 rows takes.

    python benchmarks/consume.py [--count N] [--rounds N] [--json]

Needs the embedded services (`fraudstream up`) or the ones that the settings name; makes a database and a topic of
its own there and removes both.
"""

import argparse
import contextlib
import json
import os
import platform
import secrets
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyspark
from psycopg import sql

from fraudstream import kafka as kafka_clients
from fraudstream.kafka import java_config
from fraudstream.local.jars import JarSet, ensure, spark_jars
from fraudstream.local.java import find_java
from fraudstream.producer.delivery import deliver, limited
from fraudstream.producer.pace import FASTEST
from fraudstream.producer.sender import LINGER_FAST_MS, Sender
from fraudstream.producer.simulated import Plan, simulated
from fraudstream.schema import KINDS
from fraudstream.settings import Settings, load
from fraudstream.simulate import SECOND, World
from fraudstream.spark import session
from fraudstream.spark.consumer import Consumer
from fraudstream.store.connection import connect

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.listener import QueryProgressEvent

JDBC = JarSet(
    "benchmark-postgresql-42.7.7",
    "the JDBC driver of PostgreSQL",
    (("org.postgresql", "postgresql", "42.7.7"),),
)
TARGETS = ("fraud", "transactions")
SMALL = 100
"""Rows of a small batch."""


class Batches:
    """Rows and seconds of every micro-batch, by query, as Spark itself reports them."""

    def __init__(self, spark: "SparkSession") -> None:
        from pyspark.sql.streaming.listener import StreamingQueryListener

        seen = self.seen = defaultdict[str, list[tuple[int, float]]](list)

        class Listener(StreamingQueryListener):
            def onQueryStarted(self, event: Any) -> None: ...  # noqa: N802
            def onQueryIdle(self, event: Any) -> None: ...  # noqa: N802
            def onQueryTerminated(self, event: Any) -> None: ...  # noqa: N802
            def onQueryProgress(self, event: "QueryProgressEvent") -> None:  # noqa: N802
                progress = event.progress
                if progress.numInputRows:
                    seconds = progress.durationMs["triggerExecution"] / 1000
                    seen[str(progress.runId)].append((progress.numInputRows, seconds))

        self._spark, self._listener = spark, Listener()

    def __enter__(self) -> Self:
        self._spark.streams.addListener(self._listener)
        return self

    def __exit__(self, *_: object) -> None:
        self._spark.streams.removeListener(self._listener)

    def wait_for(self, rows: int, queries: int) -> None:
        """Progress arrives on a bus of its own, somewhat after the query has ended."""
        deadline = time.monotonic() + 30
        while sum(r for b in self.seen.values() for r, _ in b) < rows * queries:
            assert time.monotonic() < deadline, f"Spark reported {self.seen}"
            time.sleep(0.05)

    def steady(self) -> float:
        """Rows a second of the slowest query, without its first batch, which compiles and connects."""
        rates = []
        for batches in self.seen.values():
            rest = batches[1:] or batches
            rates.append(sum(rows for rows, _ in rest) / sum(seconds for _, seconds in rest))
        return min(rates)


def fill(settings: Settings, count: int) -> None:
    """Put `count` simulated transactions into the topic."""
    kafka_clients.ensure_topic(settings.kafka, settings.kafka.transactions_topic)
    stop = threading.Event()
    plan = Plan(start=int(time.time()) * SECOND, fraud_rate=0.005, rate=FASTEST)
    sender = Sender(settings.kafka, settings.kafka.transactions_topic, stop, linger_ms=LINGER_FAST_MS)
    report = deliver(limited(simulated(World(), plan), count), sender, stop)
    assert (report.sent, report.failed) == (count, 0)


@contextlib.contextmanager
def scratch() -> Iterator[Settings]:
    """The settings in force with a database and a topic of this run's own."""
    settings, name = load(), f"bench_{secrets.token_hex(4)}"
    with connect(settings.postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    own = settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(update={"transactions_topic": name}),
            "postgres": settings.postgres.model_copy(update={"database": name}),
        }
    )
    try:
        yield own
    finally:
        admin = kafka_clients.admin(settings.kafka)
        with contextlib.suppress(Exception):  # the topic is missing where the run failed early
            admin.delete_topics([name])[name].result(30)
        with connect(settings.postgres, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def ours(spark: "SparkSession", settings: Settings, count: int) -> float:
    """Steady rows a second of `consume all`, from an empty database."""
    with connect(settings.postgres) as connection:
        connection.execute("drop schema if exists shop cascade")
    with Batches(spark) as batches:
        consumer = Consumer(spark, settings.kafka, settings.postgres, settings.spark)
        summary = consumer.run(TARGETS, once=True, stop=threading.Event())
        batches.wait_for(count, 1)
    assert summary.stored.total() == count, summary
    return batches.steady()


def textbook(spark: "SparkSession", settings: Settings, count: int) -> float:
    """Steady rows a second of two JDBC consumers at once, into tables without a key."""
    columns = ", ".join(f'"{name}" {_postgres_type(kind)}' for name, kind in KINDS.items())
    with connect(settings.postgres) as connection:
        connection.execute("drop schema if exists textbook cascade; create schema textbook")
        for table in ("transactions", "fraud_transactions"):
            connection.execute(f"create table textbook.{table} ({columns})")
    secret = settings.postgres.secret()
    properties = {
        "driver": "org.postgresql.Driver",
        "user": settings.postgres.user,
        "password": secret.get_secret_value() if secret else "",
    }
    url = f"jdbc:postgresql://{settings.postgres.host}:{settings.postgres.port}/{settings.postgres.database}"

    def append(table: str, batch: "DataFrame", _: int) -> None:
        batch.write.jdbc(url, f"textbook.{table}", mode="append", properties=properties)

    with Batches(spark) as batches:
        queries = [
            _transactions(spark, settings, is_fraud)
            .writeStream.foreachBatch(partial(append, table))
            .option("checkpointLocation", tempfile.mkdtemp())
            .trigger(availableNow=True)
            .start()
            for table, is_fraud in (("transactions", False), ("fraud_transactions", True))
        ]
        for query in queries:
            query.awaitTermination()
        batches.wait_for(count, 2)
    with connect(settings.postgres) as connection:
        stored = connection.execute(
            "select (select count(*) from textbook.transactions)"
            " + (select count(*) from textbook.fraud_transactions)"
        ).fetchone()
    assert stored == (count,)
    return batches.steady()


def _postgres_type(kind: str) -> str:
    return {"text": "text", "instant": "timestamptz", "float": "float8", "truth": "bool"}[kind]


def _transactions(spark: "SparkSession", settings: Settings, is_fraud: bool) -> "DataFrame":
    from pyspark.sql import functions as F  # noqa: N812

    types = {"text": "string", "instant": "timestamp", "float": "double", "truth": "int"}
    schema = ", ".join(f"{name} {types[kind]}" for name, kind in KINDS.items())
    properties = {f"kafka.{name}": value for name, value in java_config(settings.kafka).items()}
    raw = (
        spark.readStream.format("kafka")
        .options(**properties)
        .option("subscribe", settings.kafka.transactions_topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", settings.spark.rows_per_batch)
        .load()
    )
    rows = raw.select(F.from_json(F.col("value").cast("string"), schema).alias("t")).select("t.*")
    return rows.filter(F.col("is_fraud") == int(is_fraud)).withColumn("is_fraud", F.lit(is_fraud))


def small_batches(spark: "SparkSession", settings: Settings, batches: int) -> list[float]:
    """Seconds of each micro-batch of `SMALL` rows in a running consumer."""
    stop = threading.Event()
    with Batches(spark) as seen:
        consumer = Consumer(spark, settings.kafka, settings.postgres, settings.spark)
        worker = threading.Thread(
            target=consumer.run, args=(TARGETS,), kwargs={"once": False, "stop": stop}, daemon=True
        )
        worker.start()
        for n in range(batches + 5):
            fill(settings, SMALL)
            seen.wait_for((n + 1) * SMALL, 1)
        stop.set()
        worker.join()
    (durations,) = seen.seen.values()
    return [seconds for _, seconds in durations[5:]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000_000, help="messages of the topic")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each way; the median counts")
    parser.add_argument("--small", type=int, default=40, help="small batches to time")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    options = parser.parse_args()
    with scratch() as settings:
        spark = session.start(
            settings.spark,
            name="benchmark",
            java_home=find_java().home,
            jars=[*spark_jars(settings), *ensure(JDBC, settings)],
            log_file=Path(tempfile.mkstemp(prefix="fraudstream-benchmark-", suffix=".log")[1]),
        )
        fill(settings, options.count)
        ways: dict[str, Callable[[SparkSession, Settings, int], float]] = {
            "consume all": ours, "textbook JDBC pair": textbook,
        }  # fmt: skip
        runs: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):  # in turns: whatever else the machine does meets both
            for name, way in ways.items():
                runs[name].append(way(spark, settings, options.count))
        own_topic = settings.kafka.model_copy(
            update={"transactions_topic": f"{settings.kafka.transactions_topic}-small"}
        )
        small = small_batches(spark, settings.model_copy(update={"kafka": own_topic}), options.small)
        spark.stop()
    report(options, runs, small)


def report(options: argparse.Namespace, runs: dict[str, list[float]], small: list[float]) -> None:
    steady = {name: statistics.median(rates) for name, rates in runs.items()}
    ratios = [a / b for a, b in zip(runs["consume all"], runs["textbook JDBC pair"], strict=True)]
    milliseconds = sorted(seconds * 1000 for seconds in small)
    document = {
        "benchmark": "consume",
        "count": options.count,
        "rows_per_second": {name: round(rate) for name, rate in steady.items()},
        "runs": {name: [round(rate) for rate in rates] for name, rates in runs.items()},
        "ratio": round(statistics.median(ratios), 2),
        f"batch_of_{SMALL}_ms": {
            "p50": round(statistics.median(milliseconds)),
            "p99": round(milliseconds[int(len(milliseconds) * 0.99)]),
        },
        "cores": os.cpu_count(),
        "load_1_min": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), "spark": pyspark.__version__},
    }
    if options.json:
        print(json.dumps(document, indent=2))
        return
    for name, rate in steady.items():
        print(f"{name:<22} {rate:>10,.0f} rows/s   (rounds: {', '.join(f'{r:,.0f}' for r in runs[name])})")
    print(f"{'ratio':<22} {document['ratio']:>10}")
    latency: Any = document[f"batch_of_{SMALL}_ms"]
    print(f"a batch of {SMALL} rows    p50 {latency['p50']} ms, p99 {latency['p99']} ms")
    print(json.dumps({key: document[key] for key in ("cores", "load_1_min", "versions")}))


if __name__ == "__main__":
    main()
