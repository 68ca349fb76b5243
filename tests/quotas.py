"""Quotas of a broker: what a reader gets in a second, which makes a backlog last without work for anybody."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from fraudstream.local import jars
from fraudstream.local.java import find_java
from fraudstream.settings import Settings

_LIBRDKAFKA = ("--entity-name", "rdkafka")
"""What our own clients call themselves: decisions are read as fast as ever. Each of Spark's readers has a name of its own."""
_OTHERS = ("--entity-default",)


@contextmanager
def slow_reads(settings: Settings, bytes_per_second: int) -> Iterator[None]:
    """During the block, each reader of Spark's gets so many bytes a second; Kafka hands out eleven seconds' worth at once."""
    quotas = {_LIBRDKAFKA: 1 << 30, _OTHERS: bytes_per_second}
    for whose, rate in quotas.items():
        _alter(settings, *whose, "--add-config", f"consumer_byte_rate={rate}")
    try:
        yield
    finally:
        # Others' first: without a rate of its own our client would get theirs, be told that what it read at its own
        # was minutes too much, and read nothing for so long, even after both are gone.
        for whose in reversed(quotas):
            _alter(settings, *whose, "--delete-config", "consumer_byte_rate")


@contextmanager
def slow_writes(settings: Settings, client: str, bytes_per_second: int) -> Iterator[None]:
    """During the block, the broker takes so many bytes a second from the producer with this `client.id`."""
    _alter(settings, "--entity-name", client, "--add-config", f"producer_byte_rate={bytes_per_second}")
    try:
        yield
    finally:
        _alter(settings, "--entity-name", client, "--delete-config", "producer_byte_rate")


def _alter(settings: Settings, *change: str) -> None:
    found, server = jars.kafka_jars(settings), settings.kafka.bootstrap_servers
    assert server is not None
    command = [
        "kafka.admin.ConfigCommand",
        "--bootstrap-server",
        server,
        "--alter",
        "--entity-type",
        "clients",
    ]
    options = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", ":".join(map(str, found))]
    done = subprocess.run(
        [str(find_java().binary), *options, *command, *change], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
