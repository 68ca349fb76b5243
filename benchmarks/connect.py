"""Rows a second from Kafka into PostgreSQL: `consume` beside Kafka Connect with Debezium's JDBC sink.

Both read the same topic, in turns. Connect runs standalone from Apache's own jars, with four tasks, upserts by primary key
(at least once, so that a repeat does no harm), batches of 10,000, rewritten inserts and large fetches: each of these made it
faster. It keeps no bad message: one stops its task. Its CPU includes its start in each round, ours no start: Spark has
started before.

    python benchmarks/connect.py [--count N] [--rounds N] [--quick] [--json]

Needs Kafka and PostgreSQL, as consume.py does, and once a network for 80 MB of jars.
"""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from measure import Line, beside, in_turns, options, report
from stage import ALL, TABLES, Cpu, consume, fill, scratch, spark_session

from fraudstream.kafka import java_config
from fraudstream.local.jars import KAFKA_VERSION, JarSet, ensure
from fraudstream.local.java import find_java
from fraudstream.schema import KINDS, REQUIRED
from fraudstream.settings import Settings, load
from fraudstream.store.connection import connect

TOOLS = JarSet(
    f"benchmark-kafka-tools-{KAFKA_VERSION}",
    f"Kafka Connect and the tools of Kafka {KAFKA_VERSION}",
    # The binding without which they would log nothing, not even why a task failed.
    (
        ("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
        ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4"),
    ),
)
DEBEZIUM = JarSet(
    "benchmark-debezium-jdbc-3.4.0.Final",
    "Debezium's JDBC sink 3.4.0",
    (("io.debezium", "debezium-connector-jdbc", "3.4.0.Final"),),
    # Connect has these itself; two copies of Jackson refuse each other's modules.
    exclude_modules=("jackson-annotations", "jackson-core", "jackson-databind", "slf4j-api"),
)
TABLE = "connect_transactions"
PATIENCE_SECONDS = 600.0


def connect_sink(settings: Settings, count: int) -> tuple[float, dict[str, float]]:
    """Rows a second from the first stored row on, and CPU microseconds for each row, those of Connect's start included."""
    kinds = {"text": "text", "instant": "timestamptz", "float": "float8", "truth": "int"}
    columns = ", ".join(f'"{name}" {kinds[kind]}' for name, kind in KINDS.items())
    with connect(settings.postgres) as connection:
        connection.execute(f"drop table if exists public.{TABLE}")
        connection.execute(f"create table public.{TABLE} ({columns}, primary key (transaction_id))")
    with Cpu(settings) as cpu, _running(settings) as log:
        rate = _watch(settings, count, log)
    return rate, cpu.each(count)


def _watch(settings: Settings, count: int, log: Path) -> float:
    """Rows a second between the first look that finds rows and the one that finds all."""
    began: tuple[float, int] | None = None
    deadline = time.monotonic() + PATIENCE_SECONDS
    with connect(settings.postgres, autocommit=True) as connection:
        while time.monotonic() < deadline:
            row = connection.execute(f"select count(*) from public.{TABLE}").fetchone()
            now, stored = time.perf_counter(), row[0] if row else 0
            if stored and began is None:
                began = now, stored
            if stored == count and began is not None:
                return (count - began[1]) / (now - began[0])
            # Counting costs the server time of its own: once a second is a few hundredths.
            time.sleep(1.0 if stored else 0.05)
    raise AssertionError(
        f"Connect stored {stored} of {count} rows; {log.read_text(encoding='utf-8')[-2000:]}"
    )


@contextlib.contextmanager
def _running(settings: Settings) -> Iterator[Path]:
    """Connect, until the block ends; yields its log."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)  # mode 0700: the connector's file holds the password
        (directory / "plugins").mkdir()
        (plugin,) = {jar.parent for jar in ensure(DEBEZIUM, settings)}
        (directory / "plugins" / "debezium").symlink_to(plugin)
        worker, sink = directory / "worker.properties", directory / "sink.properties"
        worker.write_text(_properties(_worker(settings, directory)), encoding="utf-8")
        sink.write_text(_properties(_sink(settings)), encoding="utf-8")
        jars = os.pathsep.join(map(str, ensure(TOOLS, settings)))
        command = [str(find_java().binary), "-Xmx2g", "-cp", jars]
        command += ["org.apache.kafka.connect.cli.ConnectStandalone", str(worker), str(sink)]
        log = directory / "connect.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
            try:
                yield log
            finally:
                process.terminate()
                process.wait(60)


def _worker(settings: Settings, directory: Path) -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kafka = java_config(settings.kafka)
    return {
        **kafka,
        **{f"consumer.{name}": value for name, value in kafka.items()},
        "consumer.max.poll.records": "10000",
        "consumer.max.partition.fetch.bytes": str(8 << 20),
        "consumer.auto.offset.reset": "earliest",
        "listeners": f"http://127.0.0.1:{port}",
        "plugin.path": str(directory / "plugins"),
        "plugin.discovery": "service_load",
        "offset.storage.file.filename": str(directory / "offsets"),
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "value.converter.schema.content": json.dumps(_schema()),
    }


def _schema() -> dict[str, Any]:
    """What a message is, in Connect's words."""
    types = {"text": "string", "instant": "string", "float": "double", "truth": "int32"}
    fields = [
        {"field": name, "type": types[kind], "optional": name not in REQUIRED} for name, kind in KINDS.items()
    ]
    return {"type": "struct", "fields": fields, "optional": False}


def _sink(settings: Settings) -> dict[str, str]:
    server, secret = settings.postgres, settings.postgres.secret()
    return {
        "name": f"bench-{secrets.token_hex(4)}",  # a group of its own, which begins at the earliest message
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": "4",
        "topics": settings.kafka.transactions_topic,
        "connection.url": f"jdbc:postgresql://{server.host}:{server.port}/{server.database}"
        # Instants travel as text, and the server reads them.
        "?reWriteBatchedInserts=true&stringtype=unspecified",
        "connection.username": server.user,
        "connection.password": secret.get_secret_value() if secret else "",
        "insert.mode": "upsert",
        "primary.key.mode": "record_value",
        "primary.key.fields": "transaction_id",
        "collection.name.format": TABLE,
        "schema.evolution": "none",
        "batch.size": "10000",
    }


def _properties(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


def lines(runs: Mapping[str, list[tuple[float, dict[str, float]]]]) -> list[Line]:
    """What the rounds say."""
    against, found = "Connect, Debezium JDBC", []
    for name in ("tables", "all"):
        ours, theirs = runs[name], runs[against]
        found += [
            beside(f"consume {name}", [r for r, _ in ours], "rows/s", against, [r for r, _ in theirs]),
            beside(
                f"consume {name}, CPU", [each["total"] for _, each in ours], "us/row",
                against, [each["total"] for _, each in theirs], less_is_better=True,
                note="all processes; Connect's start is included, Spark's is not",
            ),
        ]  # fmt: skip
    return found


def main() -> None:
    chosen = options(__doc__, count=400_000, rounds=3)
    for jars in (TOOLS, DEBEZIUM):
        ensure(jars, load())
    with scratch() as settings, spark_session(settings) as spark:

        def ours(targets: tuple[str, ...]) -> tuple[float, dict[str, float]]:
            with Cpu(settings) as cpu:
                _, batches = consume(spark, settings, targets)
            return batches.steady(), cpu.each(chosen.count)

        fill(settings, chosen.count)
        runs = in_turns(
            {
                "tables": partial(ours, TABLES),
                "all": partial(ours, ALL),
                "Connect, Debezium JDBC": partial(connect_sink, settings, chosen.count),
            },
            chosen.rounds,
            # Ours compiles its code once, and Connect finds its jars in the system's cache from the second start on.
            unmeasured=0 if chosen.quick else 1,
        )
    report("connect", lines(runs), chosen, count=chosen.count, runs=runs)


if __name__ == "__main__":
    main()
