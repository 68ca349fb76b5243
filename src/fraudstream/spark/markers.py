"""What a batch read beyond its last message: the markers by which Kafka ends a transaction, which nobody sees.

A transactional producer ends each partition with one, or with messages that it took back. The stored offset follows
what was stored, and would stay below the end of the topic for good: messages that never come would seem to wait, and
once retention took the rest, to be lost.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from fraudstream.errors import BrokerUnreachable, DatabaseUnreachable
from fraudstream.kafka import Topic, client_config
from fraudstream.settings import KafkaSettings, PostgresSettings
from fraudstream.spark.source import offsets_in
from fraudstream.store import offsets

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

LOOK_SECONDS: Final = 2.0
"""What a look has not found out by then, it leaves to the next one: the driver waits for it."""


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


def silent_until(kafka: KafkaSettings, topic: Topic, places: Mapping[int, int]) -> dict[int, int]:
    """Where reading from these offsets meets the end of the partition, of those in which it meets no message before.

    A real-time batch says where its last message was, and nothing of markers behind it. Partitions of which the broker
    says nothing in time are missing, as are those with a message; all of them where it cannot be asked.
    """
    from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

    options: dict[str, Any] = {
        "group.id": "fraudstream-score-markers",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 10,  # the end is said when a fetch has waited in vain
        "queued.min.messages": 1,  # one message is enough to know
        "log_level": "0",
        "error_cb": lambda _: None,  # a broker that is away is the stream's news
    }
    ends, open_, deadline = dict[int, int](), set(places), time.monotonic() + LOOK_SECONDS
    try:
        consumer = Consumer(client_config(kafka) | options)
    except (BrokerUnreachable, KafkaException):
        return {}  # a password or a key is being replaced just now: no reason to end queries that run
    try:
        consumer.assign([TopicPartition(topic.name, *place) for place in places.items()])
        while open_ and (left := deadline - time.monotonic()) > 0:
            if (met := consumer.poll(left)) is None:
                break
            partition, end, error = met.partition(), met.offset(), met.error()
            if partition is None or partition not in open_:
                continue
            open_.remove(partition)
            if end is not None and error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's spelling
                ends[partition] = end
    finally:
        consumer.close()
    return ends
