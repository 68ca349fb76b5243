"""Kafka's transaction markers after the last message of a batch, which readers never see.

A transactional producer leaves one at the end of each partition, or aborted messages. The stored offset follows
the stored messages, and would stay below the end of the topic forever: nonexistent messages would seem to be waiting,
and once retention has deleted the rest, to be lost.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from fraudstream.errors import BrokerUnreachable, DatabaseUnreachable
from fraudstream.kafka import Topic, is_end, reader
from fraudstream.settings import KafkaSettings, PostgresSettings
from fraudstream.spark.source import offsets_in
from fraudstream.store import offsets

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

LOOK_SECONDS: Final = 2.0
"""What one check has not determined within this many seconds is left to the next: the driver waits for it."""


def pass_over(
    query: "StreamingQuery", postgres: PostgresSettings, topic: Topic, seen: Mapping[int, dict[str, int]]
) -> None:
    """Advance the stored offsets to the end of the last batch, and `seen` (the last known offsets) with them.

    Spark reports only batches that were stored completely, and reads only committed messages, so there are none in
    between. An unavailable database is noticed by the stream itself; the next check tries again.
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


def silent_until(kafka: KafkaSettings, topic: Topic, places: Mapping[int, int]) -> dict[int, int]:
    """The ends of those partitions that have no more messages from these offsets on.

    A real-time batch reports its last message, but not the markers after it. Partitions with messages are missing, as are
    those about which the broker does not answer in time, or all of them if it cannot be reached.
    """
    from confluent_kafka import KafkaException

    ends, open_, deadline = dict[int, int](), set(places), time.monotonic() + LOOK_SECONDS
    try:
        # One message is enough.
        consumer = reader(kafka, topic.name, places, "score-markers", **{"queued.min.messages": 1})
    except (BrokerUnreachable, KafkaException):
        return {}  # a password or a key is being replaced just now: no reason to end queries that run
    try:
        while open_ and (left := deadline - time.monotonic()) > 0:
            if (met := consumer.poll(left)) is None:
                break
            partition, end = met.partition(), met.offset()
            if partition is None or partition not in open_:
                continue
            open_.remove(partition)
            if end is not None and is_end(met):
                ends[partition] = end
    finally:
        consumer.close()
    return ends
