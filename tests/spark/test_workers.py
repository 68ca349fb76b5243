"""The Python workers that Spark starts on one machine."""

import gc
import os
import resource
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pyarrow as pa
import pytest

from fraudstream.spark.scratch import PREFIX
from fraudstream.spark.workers import SOCKET_PLACE

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


def test_java_and_its_workers_talk_through_files_that_no_other_user_can_reach(spark: "SparkSession") -> None:
    """Through TCP each task began 40 ms late; on these sockets Spark checks no secret."""
    used = spark.conf.get("spark.python.unix.domain.socket.dir", None)
    if used is None:
        assert len(os.fsencode(tempfile.gettempdir())) > SOCKET_PLACE - len(f"/{PREFIX}xxxxxxxx")
        pytest.skip("the temporary directory's path is too long for sockets")

    def look(_: Iterable[int]) -> Iterator[tuple[str, set[str]]]:
        ours = psutil.Process(), psutil.Process().parent()
        yield (
            os.environ["PYTHON_WORKER_FACTORY_SOCK_DIR"],
            {one.status for process in ours if process for one in process.net_connections("tcp")},
        )

    ((place, connections),) = spark.sparkContext.parallelize(range(1), 1).mapPartitions(look).collect()
    assert not connections
    assert place == used
    assert stat.S_IMODE(Path(place).stat().st_mode) == stat.S_IRWXU


def test_a_worker_keeps_the_memory_that_it_has_freed_for_its_next_array(spark: "SparkSession") -> None:
    """Else the kernel takes it back, and clears it again page by page: a sixth of a worker's time."""
    arrays, rounds = 32, 20

    def look(_: Iterable[int]) -> Iterator[int]:
        def turn() -> None:
            held = [bytes(1 << 20) for _ in range(arrays)]
            held.clear()

        turn()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _round in range(rounds):
            turn()
        yield resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    (faults,) = spark.sparkContext.parallelize(range(1), 1).mapPartitions(look).collect()
    assert faults * resource.getpagesize() < (arrays << 20), "less than one round touched for the first time"
