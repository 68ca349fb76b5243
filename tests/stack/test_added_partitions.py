"""Partitions that are added to a topic while a stream reads it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from confluent_kafka.cimpl import NewPartitions

from fraudstream import kafka
from fraudstream.metrics import ConsumeMonitor
from fraudstream.settings import Settings
from fraudstream.spark.consumer import Consumer
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate
from samples import message
from sending import send
from waiting import wait_until

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Places = dict[int, tuple[int, int]]


def test_a_running_consumer_tells_how_far_it_is_in_partitions_that_were_added(
    spark: "SparkSession", settings: Settings
) -> None:
    """Of these it knew no end, so that nothing ever seemed to wait in them."""
    migrate(settings.postgres)
    topic, admin = settings.kafka.transactions_topic, kafka.admin(settings.kafka)
    kafka.ensure_topic(settings.kafka, topic, 1)
    monitor, stop = ConsumeMonitor(), threading.Event()
    consumer = Consumer(spark, settings, monitor=monitor)

    def told() -> Places:
        with connect(settings.postgres) as connection:
            rows = connection.execute("select partition, next_offset, end_offset from shop.stream_progress")
            return {partition: (offset, end) for partition, offset, end in rows}

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(consumer.run, ("transactions",), once=False, stop=stop)
        try:
            wait_until(lambda: told() == {0: (0, 0)}, "the only partition")
            admin.create_partitions([NewPartitions(topic, 2)])[topic].result(30)
            wait_until(lambda: told() == {0: (0, 0), 1: (0, 0)}, "the partition that was added")
            send(settings, [(message(), 1)])
            wait_until(lambda: told() == {0: (0, 0), 1: (1, 1)}, "its message")
        finally:
            stop.set()
    assert running.result().stored["transactions"] == 1
