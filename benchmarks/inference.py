"""Rows a second that Spark judges: trees inside the JVM beside scikit-learn in Python workers by `mapInArrow`.

One forest of 100 trees over every feature, grown once and run both ways on the same rows, which Spark holds in memory; both
must say the same. Alone, without Kafka and profiles, so that nothing hides the difference; then with batches of 100 rows, where what
it costs to reach Python at all shows.

    python benchmarks/inference.py [--count N] [--rounds N] [--small N] [--quick] [--json]

Needs no services.
"""

import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from explain import grown
from measure import beside, in_turns, options, report
from stage import spark_session

from fraudstream.features.definitions import DEFAULTS
from fraudstream.settings import load
from fraudstream.spark.risk import RiskStep, risk_step_of_trees

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NAMES = DEFAULTS
SMALL = 100
"""Rows of a small batch."""
TOLERANCE = 1e-9


def in_python(estimator: Any) -> RiskStep:
    """The textbook's way: whole batches of rows go to Python, a column of risks comes back."""

    def risks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            x = np.column_stack([column.to_numpy() for column in batch.columns])
            yield pa.record_batch([pa.array(estimator.risk(x))], names=["risk"])

    return lambda rows: rows.mapInArrow(risks, "risk double")


def held(spark: "SparkSession", x: Any) -> "DataFrame":
    """Rows in Spark's memory."""
    table = pa.table({name: x[:, i] for i, name in enumerate(NAMES)})
    rows = spark.createDataFrame(table).repartition(2).cache()
    assert rows.count() == len(x)
    return rows


def seconds(judge: RiskStep, rows: "DataFrame") -> float:
    """Until every row has its risk."""
    began = time.perf_counter()
    judge(rows).select("risk").write.format("noop").mode("overwrite").save()
    return time.perf_counter() - began


def rate(judge: RiskStep, rows: "DataFrame", count: int) -> float:
    """Rows a second, of `count`."""
    return count / seconds(judge, rows)


def same(judges: dict[str, RiskStep], rows: "DataFrame") -> None:
    """Raise where the two ways differ."""
    jvm, python = (
        sorted(row.risk for row in judge(rows).select("risk").collect()) for judge in judges.values()
    )
    assert np.allclose(jvm, python, rtol=0, atol=TOLERANCE)


def main() -> None:
    chosen = options(__doc__, count=500_000, rounds=3, small=30)
    estimator, x = grown()
    many = np.tile(x, (-(-chosen.count // len(x)), 1))[: chosen.count]
    with spark_session(load()) as spark:
        judges = {"JVM": risk_step_of_trees(spark, estimator.ensemble()), "Python": in_python(estimator)}
        whole, small = held(spark, many), held(spark, x[:SMALL])
        same(judges, small)
        for judge in judges.values():  # compiled, and Python workers started
            seconds(judge, whole)
        rates = in_turns(
            {name: partial(rate, judge, whole, chosen.count) for name, judge in judges.items()}, chosen.rounds
        )
        late = in_turns(
            {name: partial(seconds, judge, small) for name, judge in judges.items()}, chosen.small
        )
    p50 = {name: [statistics.median(found) * 1000] for name, found in late.items()}
    lines = [
        beside("trees in the JVM", rates["JVM"], "rows/s", "scikit-learn, mapInArrow", rates["Python"]),
        beside(
            f"trees in the JVM, {SMALL} rows, p50",
            p50["JVM"],
            "ms",
            "scikit-learn, mapInArrow",
            p50["Python"],
            less_is_better=True,
        ),
    ]
    report("inference", lines, chosen, rates=rates, seconds=late)


if __name__ == "__main__":
    main()
