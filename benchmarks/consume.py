"""Rows a second from Kafka into PostgreSQL: `consume` beside the textbook pair of Spark JDBC consumers, and beside COPY.

All read the same topic in turns: first each side as programs of its own, started anew, as people run them, then all in one
Spark session that has warmed up. The textbook is two queries with `from_json`, a filter on
`is_fraud` and a JDBC append into tables without a key; it loses or doubles rows when it is killed. Ours has the
primary key, keeps bad messages and is exactly once. `tables` stores transactions and fraud, as the textbook does; `all`
keeps the profiles, too. COPY is the limit: as many rows, decoded beforehand, by four connections into the same table.
A last part measures how long a micro-batch of 100 rows takes.

    python benchmarks/consume.py [--count N] [--rounds N] [--small N] [--quick] [--json]

Needs Kafka and PostgreSQL: `fraudstream up`, or the ones that the settings name; makes a database and a topic of its own
there and removes both.
"""

import statistics
import threading
from functools import partial
from typing import TYPE_CHECKING

import programs
import textbook
from measure import Line, alone, beside, in_turns, options, report
from raw_copy import copy
from stage import ALL, TABLES, Batches, Cpu, consume, fill, scratch, spark_session, topic

from fraudstream.settings import Settings
from fraudstream.spark.consumer import Consumer

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SMALL = 100
"""Rows of a small batch."""
PAIR = "textbook JDBC pair"
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


def theirs(spark: "SparkSession", settings: Settings, count: int) -> Measured:
    """Two JDBC consumers at once, into tables without a key."""
    textbook.make_tables(settings)
    with Cpu(settings) as cpu, Batches(spark) as batches:
        queries = [textbook.start(spark, settings, table) for table in textbook.TABLES]
        for query in queries:
            query.awaitTermination()
        batches.wait_for(2 * count)
    assert textbook.count(settings) == count
    return batches.steady(), cpu.each(count)


def as_programs(settings: Settings, count: int, rounds: int) -> dict[str, list[float]]:
    """Rows a second where each side is what people start: one program of ours, two of the textbook's."""

    def pair() -> float:
        textbook.make_tables(settings)
        pace = programs.steady(settings, list(textbook.TABLES), count)
        assert textbook.count(settings) == count
        return pace

    return in_turns({"tables": lambda: programs.steady(settings, ["tables"], count), PAIR: pair}, rounds)


def small_batches(spark: "SparkSession", settings: Settings, batches: int) -> list[float]:
    """Milliseconds of each micro-batch of `SMALL` rows in a running `consume all`."""
    stop = threading.Event()
    with Batches(spark) as seen:
        consumer = Consumer(spark, settings)
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


def lines(runs: dict[str, list[Measured]], started: dict[str, list[float]], small: list[float]) -> list[Line]:
    """What the rounds say."""
    rates = {name: [rate for rate, _ in measured] for name, measured in runs.items()}
    cpu = {name: [each["total"] for _, each in measured] for name, measured in runs.items()}
    found = []
    for name, against, goal in (
        ("tables", PAIR, 4.0),
        ("all", PAIR, None),
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
    found.append(
        beside(
            "consume tables, as programs",
            started["tables"],
            "rows/s",
            PAIR,
            started[PAIR],
            at_least=4.0,
            note="each starts anew",
        )
    )
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
    with scratch() as settings:
        fill(settings, chosen.count)
        started = as_programs(settings, chosen.count, chosen.rounds)
        with spark_session(settings) as spark:
            runs = in_turns(
                {
                    "tables": partial(ours, spark, settings, TABLES, chosen.count),
                    "all": partial(ours, spark, settings, ALL, chosen.count),
                    PAIR: partial(theirs, spark, settings, chosen.count),
                    "raw COPY": partial(copy, settings, chosen.count),
                },
                chosen.rounds,
            )
            with topic(settings, settings.kafka.partitions) as own:
                small = small_batches(spark, own, chosen.small)
    report("consume", lines(runs, started, small), chosen, count=chosen.count, runs=runs, programs=started)


if __name__ == "__main__":
    main()
