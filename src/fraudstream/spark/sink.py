"""The sink: `run` is the driver's part; in the executors, one task reads and stores one partition's slice, and reports.

Failures that the driver can handle (a lost database, an offset hole) are reported rather than
raised, so that they arrive as exceptions of their class and not as the text of a traceback.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any

from fraudstream.errors import BrokerRefused, DatabaseError, DatabaseUnreachable, FraudstreamError
from fraudstream.kafka import Range, ReadingStopped, read
from fraudstream.rules import Rule
from fraudstream.settings import PostgresSettings
from fraudstream.store.offsets import Source
from fraudstream.store.slices import OffsetHole, Outcome, store_slice
from fraudstream.store.targets import select

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REPORTED: dict[str, type[FraudstreamError]] = {
    kind.code: kind
    for kind in (DatabaseUnreachable, DatabaseError, OffsetHole, ReadingStopped, BrokerRefused)
}


@dataclass(frozen=True, slots=True)
class Job:
    """The input of every task of a batch. Pickled into the task: no secret passes through Spark's settings."""

    postgres: PostgresSettings
    kafka: Mapping[str, str] = field(repr=False)
    """The configuration of the tasks' clients, with passwords and keys."""
    topic: str
    topic_id: str
    ranges: Sequence[Range]
    """The messages of the batch; each task stores those of one partition."""
    targets: tuple[str, ...]
    expected: Mapping[int, Mapping[str, int]]
    """The last offsets that the driver saw, by partition and target."""
    rules: Mapping[str, Rule]
    """The operator's rules, by name: read by the driver, as executors may not have the file."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a task: the partition and the outcome of its slice."""

    partition: int
    outcome: Outcome


def run(spark: "SparkSession", job: Job) -> list[str]:
    """Have the executors do a job, a task for each range; returns their reports.

    Not a DataFrame's `mapInArrow`, with which a batch of 100 rows took 250 ms instead of 200: Spark planned a query, generated
    code for it and kept a record of it.
    """
    numbers = range(len(job.ranges))
    if not numbers:
        return []
    return spark.sparkContext.parallelize(numbers, len(numbers)).mapPartitions(partial(write, job)).collect()


def write(job: Job, numbers: Iterable[int]) -> Iterator[str]:
    """Store the ranges whose numbers this task is given; yields a report of each."""
    for number in numbers:
        yield json.dumps(_store(job, job.ranges[number]))


def _store(job: Job, wanted: Range) -> dict[str, Any]:
    """Read and store a range, and report."""
    partition = wanted.partition
    source = Source(job.topic, job.topic_id, partition)
    messages = read(job.kafka, job.topic, wanted)
    expected = job.expected.get(partition, {})
    try:
        outcome = store_slice(job.postgres, source, select(job.targets), expected, messages, rules=job.rules)
    except tuple(REPORTED.values()) as error:
        return {"code": error.code, "message": error.message, "hint": error.hint}
    return {"partition": partition, "outcome": _plain(outcome)}


def _plain(outcome: Outcome) -> dict[str, Any]:
    # Not `asdict`: in Python 3.11 it counts the items of a Counter instead of copying them.
    return {found.name: getattr(outcome, found.name) for found in fields(outcome)}


def read_reports(texts: Iterable[str]) -> tuple[list[Report], list[FraudstreamError]]:
    """The reports of the tasks that succeeded, and the errors of those that failed."""
    reports: list[Report] = []
    errors: list[FraudstreamError] = []
    for report in map(json.loads, texts):
        if "code" in report:
            error = REPORTED[report["code"]](report["message"], hint=report["hint"])
            errors.append(error)
        else:
            reports.append(Report(report["partition"], Outcome(**report["outcome"])))
    return reports, errors
