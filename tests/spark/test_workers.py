"""The Python workers that Spark starts on one machine."""

import gc
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_a_worker_begins_with_everything_loaded_and_out_of_the_collectors_way(spark: "SparkSession") -> None:
    """Else each worker spends half a second on imports, and a sixth of its time on collecting them as garbage."""

    def look(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            loaded = {"fraudstream.store.slices", "fraudstream.features.profiles", "psycopg"} <= set(
                sys.modules
            )
            yield pa.record_batch({"loaded": [loaded], "frozen": [gc.get_freeze_count()]})

    found = spark.range(1).mapInArrow(look, "loaded boolean, frozen bigint").first()
    assert found is not None
    assert found.loaded
    assert found.frozen > 50_000
