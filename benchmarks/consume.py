"""Rows a second from Kafka into PostgreSQL: `consume` beside the textbook pair of Spark JDBC consumers, and beside COPY.

All read the same topic in the same Spark session, in turns. The textbook is two queries with `from_json`, a filter on
`is_fraud` and a JDBC append into tables without a key; it loses or doubles rows when it is killed. Ours has the
primary key, keeps bad messages and is exactly once. `tables` stores transactions and fraud, as the textbook does; `all`
keeps the profiles, too. COPY is the limit: as many rows, decoded beforehand, by four connections into the same table.
A last part measures how long a micro-batch of 100 rows takes.

    python benchmarks/consume.py [--count N] [--rounds N] [--small N] [--quick] [--json]

Needs Kafka and PostgreSQL: `fraudstream up`, or the ones that the settings name; makes a database and a topic of its own
there and removes both.
"""

import statistics
import tempfile
import threading
from functools import partial
from typing import TYPE_CHECKING

from measure import Line, alone, beside, in_turns, options, report
from raw_copy import copy
from stage import ALL, TABLES, Batches, Cpu, consume, fill, scratch, spark_session, topic

from fraudstream.kafka import java_config
from fraudstream.schema import KINDS
from fraudstream.settings import Settings
from fraudstream.spark.consumer import Consumer
from fraudstream.store.connection import connect

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SMALL = 100
"""Rows of a small batch."""
WARM_UP = 5
"""Small batches that do not count."""

Measured = tuple[float, dict[str, float]]
"""Rows a second without the first batch, and CPU microseconds for each row by part, from start to end."""


def ours(spark: "SparkSession", settings: Settings, targets: tuple[str, ...], count: int) -> Measured:
    """`consume --once`, from an empty database."""
    with Cpu(settings) as cpu:
        summary, batches = consume(spark, settings, targets)
    assert summary.rows == count, summary
    return batches.steady(), cpu.each(count)


def textbook(spark: "SparkSession", settings: Settings, count: int) -> Measured:
    """Two JDBC consumers at once, into tables without a key."""
    kinds = {"text": "text", "instant": "timestamptz", "float": "float8", "truth": "bool"}
    columns = ", ".join(f'"{name}" {kinds[kind]}' for name, kind in KINDS.items())
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

    with Cpu(settings) as cpu, Batches(spark) as batches:
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
        batches.wait_for(2 * count)
    with connect(settings.postgres) as connection:
        stored = connection.execute(
            "select (select count(*) from textbook.transactions)"
            " + (select count(*) from textbook.fraud_transactions)"
        ).fetchone()
    assert stored == (count,)
    return batches.steady(), cpu.each(count)


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
    """Milliseconds of each micro-batch of `SMALL` rows in a running `consume all`."""
    stop = threading.Event()
    with Batches(spark) as seen:
        consumer = Consumer(spark, settings.kafka, settings.postgres, settings.spark)
        worker = threading.Thread(
            target=consumer.run, args=(ALL,), kwargs={"once": False, "stop": stop}, daemon=True
        )
        worker.start()
        for n in range(batches + WARM_UP):
            fill(settings, SMALL)
            seen.wait_for((n + 1) * SMALL)
        stop.set()
        worker.join()
    (durations,) = seen.seen.values()
    return [seconds * 1000 for _, seconds in durations[WARM_UP:]]


def lines(runs: dict[str, list[Measured]], small: list[float]) -> list[Line]:
    """What the rounds say."""
    rates = {name: [rate for rate, _ in measured] for name, measured in runs.items()}
    cpu = {name: [each["total"] for _, each in measured] for name, measured in runs.items()}
    found = []
    for name, against, goal in (
        ("tables", "textbook JDBC pair", 4.0),
        ("all", "textbook JDBC pair", None),
        ("tables", "raw COPY", 1 / 2.5),
        ("all", "raw COPY", None),
    ):
        what, note = f"consume {name}", "from start to end, all processes"
        found += [
            beside(what, rates[name], "rows/s", against, rates[against], at_least=goal),
            beside(
                f"{what}, CPU", cpu[name], "us/row", against, cpu[against], less_is_better=True, note=note
            ),
        ]
    p99 = sorted(small)[int(len(small) * 0.99)]
    found.append(
        alone(
            f"a batch of {SMALL} rows, p50",
            statistics.median(small),
            "ms",
            at_most=250,
            note=f"p99 {p99:.0f} ms",
        )
    )
    return found


def main() -> None:
    chosen = options(__doc__, count=1_000_000, rounds=3, small=40)
    with scratch() as settings, spark_session(settings) as spark:
        fill(settings, chosen.count)
        runs = in_turns(
            {
                "tables": partial(ours, spark, settings, TABLES, chosen.count),
                "all": partial(ours, spark, settings, ALL, chosen.count),
                "textbook JDBC pair": partial(textbook, spark, settings, chosen.count),
                "raw COPY": partial(copy, settings, chosen.count),
            },
            chosen.rounds,
        )
        with topic(settings, settings.kafka.partitions) as own:
            small = small_batches(spark, own, chosen.small)
    report("consume", lines(runs, small), chosen, count=chosen.count, runs=runs)


if __name__ == "__main__":
    main()
