"""What a batch read beyond its last message: the markers by which Kafka ends a transaction, which nobody sees.

A transactional producer ends each partition with one, or with messages that it took back. The stored offset follows
what was stored, and would stay below the end of the topic for good: messages that never come would seem to wait, and
once retention took the rest, to be lost.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fraudstream.errors import DatabaseUnreachable
from fraudstream.kafka import Topic
from fraudstream.settings import PostgresSettings
from fraudstream.spark.source import offsets_in
from fraudstream.store import offsets

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery


def pass_over(
    query: "StreamingQuery", postgres: PostgresSettings, topic: Topic, seen: Mapping[int, dict[str, int]]
) -> None:
    """Move the stored offsets to where the last batch ended, and `seen` (where each target was) with them.

    Spark says so of batches that were stored whole only, and reads nothing but what is decided, so no message lies in
    between. A database that is away is found out by the stream itself; the next look tries again.
    """
    progress = query.lastProgress
    if progress is None:
        return
    for partition, end in offsets_in(progress.sources[0].endOffset).items():
        by_target = seen.get(partition, {})
        try:
            moved = offsets.pass_gap(postgres, topic, partition, by_target, end)
        except DatabaseUnreachable:
            return
        for target in moved:
            by_target[target] = max(by_target[target], end)
