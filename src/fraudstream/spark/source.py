"""Kafka as a stream of raw messages."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fraudstream.kafka import Range, Topic, java_config
from fraudstream.settings import KafkaSettings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FETCHING = {
    # Measured: 1.5 to 2 times the rows per second of the defaults (500 records, 1 MiB).
    "max.poll.records": "20000",
    "max.partition.fetch.bytes": str(8 << 20),
    # At the end of every slice a fetch waits at the broker for more. Measured: with the default of 500 ms each micro-batch
    # takes half a second longer, with 100 rows or 200,000.
    "fetch.max.wait.ms": "10",
    # A transaction that its producer aborted never happened.
    "isolation.level": "read_committed",
    # A consumer that asks for a topic must not create it.
    "allow.auto.create.topics": "false",
}


def read_messages(  # noqa: PLR0913, PLR0917 - what a source is made of
    spark: "SparkSession",
    kafka: KafkaSettings,
    topic: Topic,
    start: Mapping[int, int],
    rows_per_batch: int | None,
    columns: Sequence[str] = ("value",),
) -> "DataFrame":
    """Stream `columns` of the messages, from `start[partition]` on; real-time mode does not support a row limit.

    `consume` has the batches planned alone, and reads no rows of them (`Planned`).
    """
    properties = {f"kafka.{name}": value for name, value in (java_config(kafka) | FETCHING).items()}
    limit = {} if rows_per_batch is None else {"maxOffsetsPerTrigger": str(rows_per_batch)}
    return (
        spark.readStream.format("kafka")
        .options(**properties, **limit)
        .option("subscribe", topic.name)
        .option("startingOffsets", json.dumps({topic.name: {str(p): offset for p, offset in start.items()}}))
        # Stop if the broker no longer has what was planned; the consumer finds out why.
        .option("failOnDataLoss", "true")
        .load()
        .select(*columns)
    )


class Planned:
    """What Spark planned for the batches of one query: which messages of each partition.

    From the log in its checkpoint, to which Spark writes where a batch ends before it starts the batch: the tasks read these
    messages themselves, and the rows of Spark's source are never made.
    """

    def __init__(self, checkpoint: str, start: Mapping[int, int]) -> None:
        self._log = Path(checkpoint, "offsets")
        self._reached = dict(start)

    def ranges(self, batch: int) -> list[Range]:
        """The messages of the next batch, which has this number; a partition that is new begins at its start."""
        last_line = (self._log / str(batch)).read_text(encoding="utf-8").splitlines()[-1]
        ends = offsets_in(last_line)
        found = [Range(p, self._reached.get(p, 0), end) for p, end in ends.items()]
        self._reached |= ends
        return [each for each in found if each.begin < each.end]


def offsets_in(document: str | None) -> dict[int, int]:
    """Offsets by partition of the only topic in a report of Spark's source.

    >>> offsets_in('{"payments": {"0": 7, "1": 4}}')
    {0: 7, 1: 4}
    >>> offsets_in(None)
    {}
    """
    (partitions,) = json.loads(document or "{}").values() or ({},)
    return {int(partition): offset for partition, offset in partitions.items()}


def furthest(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    """The higher offset of each partition.

    >>> furthest({0: 7, 1: 4}, {1: 3, 2: 0})
    {0: 7, 1: 4, 2: 0}
    """
    return {**one, **{p: max(offset, one.get(p, offset)) for p, offset in other.items()}}


CHECKPOINT: Final = "fraudstream-checkpoint-"
"""How the names of checkpoints begin, by which Spark's errors about them are recognised."""


def new_checkpoint(spark: "SparkSession") -> "tempfile.TemporaryDirectory[str]":
    """A directory for a query's checkpoint: scratch, as every start begins at the stored offsets.

    It is inside Spark's own directory, which is deleted even if the command is killed.
    """
    jvm: Any = spark.sparkContext._jvm  # noqa: SLF001 - the way to the JVM
    place = str(jvm.java.lang.System.getProperty("java.io.tmpdir"))
    return tempfile.TemporaryDirectory(prefix=CHECKPOINT, dir=place, ignore_cleanup_errors=True)


def location(checkpoint: str) -> str:
    """The checkpoint as a URI: Spark interprets a bare path in its default file system, which on Hadoop is another one."""
    return Path(checkpoint).as_uri()
