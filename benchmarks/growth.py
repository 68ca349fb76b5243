"""What more rows and more partitions do to `consume all`: its pace from the first to the last million, and its memory.

One run stores ten million messages; the pace of its last million stands beside that of its second (the first
compiles and connects). Meanwhile the memory of the driver, of the JVM and of the Python workers is looked at
twice a second. Then a quarter of a million messages each in topics of 1, 2, 4 and 8 partitions.

    python benchmarks/growth.py [--count N] [--share N] [--quick] [--json]

Needs Kafka and PostgreSQL, as consume.py does, and 8 GB of disk.
"""

import time
from typing import TYPE_CHECKING, Any

import psutil
from measure import Line, options, report
from memory import Memory
from stage import ALL, consume, fill, scratch, spark_session, topic

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from fraudstream.settings import Settings

PARTITIONS = (1, 2, 4, 8)
SLOWS_BY = 0.8
"""Pace of the last tenth beside that of the second one."""


def rows(spark: "SparkSession", settings: "Settings", count: int) -> tuple[list[Line], dict[str, Any]]:
    """One long run."""
    fill(settings, count)
    with Memory(psutil.Process()) as memory:
        _, batches = consume(spark, settings, ALL)
    (found,) = batches.seen.values()
    # What is left at the end is a small batch, and says nothing about pace.
    seen = [batch for batch in found if batch[0] * 2 > max(rows for rows, _ in found)]
    tenth = max(len(seen) // 10, 1)
    early, late = (
        sum(n for n, _ in some) / sum(s for _, s in some)
        for some in (seen[tenth : 2 * tenth] or seen, seen[-tenth:])
    )
    pace = Line(
        f"consume all, last tenth of {count:,}", late, "rows/s", "its second tenth", early, late / early,
        f"≥ {SLOWS_BY:g} times", late / early >= SLOWS_BY,
    )  # fmt: skip
    parts = [memory.line(name) for name in ("driver", "Java", "Python workers")]
    return [pace, *parts], {"batches": found, "memory_mib": memory.seen[:: max(len(memory.seen) // 60, 1)]}


def partitions(spark: "SparkSession", settings: "Settings", count: int) -> list[Line]:
    """The same messages in topics of other widths, each twice; the better run counts, as the first compiles."""
    paces: dict[int, float] = {}
    for wide in PARTITIONS:
        with topic(settings, wide) as own:
            fill(own, count)
            runs = []
            for _ in range(2):
                began = time.perf_counter()
                consume(spark, own, ALL)
                runs.append(count / (time.perf_counter() - began))
            paces[wide] = max(runs)
    return [
        Line(
            f"consume all, {wide} partitions", pace, "rows/s", "1 partition", paces[1], pace / paces[1],
            note="from start to end",
        )
        for wide, pace in paces.items()
        if wide > 1
    ]  # fmt: skip


def main() -> None:
    chosen = options(__doc__, count=10_000_000, share=250_000)
    with scratch() as settings, spark_session(settings) as spark:
        long, details = rows(spark, settings, chosen.count)
        wide = partitions(spark, settings, chosen.share)
    report("growth", [*long, *wide], chosen, count=chosen.count, **details)


if __name__ == "__main__":
    main()
