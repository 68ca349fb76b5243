"""The executors' part of the sink: one task stores one partition's slice, and reports in one row.

Failures that the driver can handle (a lost database, an offset hole) are reported rather than
raised, so that they arrive as exceptions of their class and not as the text of a traceback.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import chain
from typing import TYPE_CHECKING, Any

from fraudstream.errors import DatabaseError, DatabaseUnreachable, FraudstreamError
from fraudstream.rules import Rule
from fraudstream.settings import PostgresSettings
from fraudstream.store.offsets import Source
from fraudstream.store.slices import Messages, OffsetHole, Outcome, store_slice
from fraudstream.store.targets import select

if TYPE_CHECKING:
    import pyarrow as pa

REPORT = "report string"
"""The one column that a task returns."""

REPORTED: dict[str, type[FraudstreamError]] = {
    kind.code: kind for kind in (DatabaseUnreachable, DatabaseError, OffsetHole)
}


@dataclass(frozen=True, slots=True)
class Job:
    """The input of every task of a batch. Pickled into the task: no secret passes through Spark's settings."""

    postgres: PostgresSettings
    topic: str
    topic_id: str
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


def write(job: Job, batches: Iterable["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
    """Store the slice of this task; yields one row, or none for a slice without messages."""
    filled = (batch for batch in batches if batch.num_rows)
    first = next(filled, None)
    if first is None:
        return
    partition = first.column("partition")[0].as_py()
    source = Source(job.topic, job.topic_id, partition)
    messages = (_messages(batch) for batch in chain([first], filled))
    try:
        expected = job.expected.get(partition, {})
        outcome = store_slice(job.postgres, source, select(job.targets), expected, messages, rules=job.rules)
    except tuple(REPORTED.values()) as error:
        yield _row({"code": error.code, "message": error.message, "hint": error.hint})
    else:
        yield _row({"partition": partition, "outcome": _plain(outcome)})


def _messages(batch: "pa.RecordBatch") -> Messages:
    return Messages(
        batch.column("offset").to_pylist(), batch.column("key").to_pylist(), batch.column("value").to_pylist()
    )


def _plain(outcome: Outcome) -> dict[str, Any]:
    # Not `asdict`: in Python 3.11 it counts the items of a Counter instead of copying them.
    return {found.name: getattr(outcome, found.name) for found in fields(outcome)}


def _row(report: Mapping[str, Any]) -> "pa.RecordBatch":
    import pyarrow as pa

    return pa.record_batch([pa.array([json.dumps(report)])], names=["report"])


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
