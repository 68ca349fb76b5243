"""What profiles cost the sink: one process stores the same slices with and without them, in turns.

    python benchmarks/profiles.py [--count N] [--rounds N] [--json]

Without Kafka and Spark, so that nothing hides the cost: `benchmarks/consume.py` has the whole road. Needs a PostgreSQL
(`fraudstream up`, or what the settings name); makes a database of its own there and removes it.
"""

import argparse
import json
import secrets
import statistics
import time

from psycopg import sql

from fraudstream.producer.pace import FASTEST
from fraudstream.producer.simulated import Plan, simulated
from fraudstream.settings import PostgresSettings, load
from fraudstream.simulate import SECOND, World
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate
from fraudstream.store.offsets import Source
from fraudstream.store.slices import Messages, close, store_slice
from fraudstream.store.targets import select

TABLES = ("fraud", "transactions")
SLICE, BATCH = 50_000, 10_000
"""A partition's share of a micro-batch with the default settings, and Spark's Arrow batches of it."""


def values(count: int) -> list[bytes]:
    """The messages of a simulated world."""
    found: list[bytes] = []
    for batch in simulated(World(), Plan(start=int(time.time()) * SECOND, fraud_rate=0.005, rate=FASTEST)):
        found += batch.values
        if len(found) >= count:
            break
    return found[:count]


def seconds(postgres: PostgresSettings, found: list[bytes], targets: tuple[str, ...]) -> float:
    """To store all slices but the first, from an empty database."""
    with connect(postgres) as connection:
        connection.execute("drop schema if exists shop cascade")
    migrate(postgres)
    began = 0.0
    for partition, first in enumerate(range(0, len(found), SLICE)):
        if partition == 1:  # the first slice connects and makes its temporary tables
            began = time.perf_counter()
        part = found[first : first + SLICE]
        batches = [
            Messages(range(i, i + len(some)), [None] * len(some), some)
            for i in range(0, len(part), BATCH)
            for some in [part[i : i + BATCH]]
        ]
        store_slice(postgres, Source("bench", "bench", partition), select([*targets]), {}, batches)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200_000, help="messages; at least two slices of 50,000")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each way; the median counts")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a line")
    options = parser.parse_args()
    settings, name = load().postgres, f"bench_{secrets.token_hex(4)}"
    with connect(settings, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    own = settings.model_copy(update={"database": name})
    try:
        found = values(max(options.count, 2 * SLICE))
        rows = len(found) - SLICE
        pairs = [
            (rows / seconds(own, found, TABLES), rows / seconds(own, found, (*TABLES, "profiles")))
            for _ in range(options.rounds)
        ]
    finally:
        close(own)
        with connect(settings, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
    without, beside = (round(statistics.median(rates)) for rates in zip(*pairs, strict=True))
    document = {
        "benchmark": "profiles",
        "rows_per_second": {"tables": without, "tables and profiles": beside},
        "ratio": round(statistics.median(b / a for a, b in pairs), 2),
    }
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        print(f"tables {without:,} rows/s, with profiles {beside:,} rows/s, ratio {document['ratio']}")


if __name__ == "__main__":
    main()
