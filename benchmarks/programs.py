"""One side of `consume.py` as a program of its own, as people run it; prints rows and seconds of each micro-batch.

    python benchmarks/programs.py tables|all|transactions|fraud_transactions

`tables` and `all` are ours, the others a table of the textbook's with Spark as it comes. Where to read and write stands
in the environment.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import textbook
from stage import ALL, JDBC, TABLES, Batches, consume, environment, rate, spark_session

from fraudstream.local.jars import ensure, spark_jars
from fraudstream.local.java import find_java
from fraudstream.settings import Settings, load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Timed = list[tuple[int, float]]
"""Rows and seconds of each micro-batch."""
OURS = {"tables": TABLES, "all": ALL}


def steady(settings: Settings, sides: Sequence[str], count: int) -> float:
    """Rows a second of the slowest of these programs, which run at once and read `count` messages each, without its first batch."""
    programs = [
        subprocess.Popen(
            [sys.executable, __file__, side],
            env=environment(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for side in sides
    ]
    try:
        said = [program.communicate() for program in programs]
    finally:
        for program in programs:
            program.terminate()  # where this was interrupted; otherwise they have ended
            program.wait()
    assert all(program.returncode == 0 for program in programs), said
    found = [json.loads(output) for output, _ in said]
    assert all(sum(rows for rows, _ in timed) == count for timed in found), f"not {count} messages: {found}"
    return min(map(rate, found))


@contextmanager
def plain_spark(settings: Settings) -> Iterator["SparkSession"]:
    """Spark with the two jars that the textbook needs, and otherwise as it comes, but for the progress bars on stderr."""
    from pyspark.sql import SparkSession

    os.environ["JAVA_HOME"] = str(find_java().home)
    jars = [*spark_jars(settings), *ensure(JDBC, settings)]
    builder = SparkSession.builder.master("local[*]").config("spark.jars", ",".join(map(str, jars)))
    builder = builder.config("spark.ui.showConsoleProgress", "false")
    spark = builder.config("spark.driver.memory", settings.spark.driver_memory).getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


def main() -> None:
    side, settings = sys.argv[1], load()
    if not settings.postgres.database.startswith("bench_"):
        sys.exit(f"{settings.postgres.database} is not a database of a benchmark, and would be emptied.")
    if side in OURS:
        with spark_session(settings) as spark:
            _, batches = consume(spark, settings, OURS[side])
    else:
        with plain_spark(settings) as spark, Batches(spark) as batches:
            query = textbook.start(spark, settings, side)
            query.awaitTermination()
            batches.wait_for(sum(end.numInputRows for end in query.recentProgress))
    (timed,) = batches.seen.values()
    sys.stdout.write(json.dumps(timed))


if __name__ == "__main__":
    main()
