"""Quotas of a broker: what a reader gets in a second, which makes a backlog last without work for anybody."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
    quotas = {_OTHERS: bytes_per_second, _LIBRDKAFKA: 1 << 30}
    with ThreadPoolExecutor(len(quotas)) as pool:
        add = "--add-config consumer_byte_rate={}"
        list(pool.map(lambda whose: _alter(settings, *whose, *add.format(quotas[whose]).split()), quotas))
        try:
            yield
        finally:
            drop = ("--delete-config", "consumer_byte_rate")
            list(pool.map(lambda whose: _alter(settings, *whose, *drop), quotas))


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
