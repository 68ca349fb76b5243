"""What profiles cost the sink: one process stores the same slices with and without them, in turns.

    python benchmarks/profiles.py [--count N] [--rounds N] [--quick] [--json]

Without Kafka and Spark, so that nothing hides the cost: `benchmarks/consume.py` has the whole road. Needs a PostgreSQL
(`fraudstream up`, or what the settings name); makes a database of its own there and removes it.
"""

import secrets
import time

from measure import beside, in_turns, options, report
from psycopg import sql
from stage import ALL, TABLES, messages

from fraudstream.kafka import Messages
from fraudstream.settings import PostgresSettings, load
from fraudstream.store.connection import connect
from fraudstream.store.held import close
from fraudstream.store.migrate import migrate
from fraudstream.store.offsets import Source
from fraudstream.store.slices import store_slice
from fraudstream.store.targets import select

SLICE, BATCH = 50_000, 10_000
"""A partition's share of a micro-batch with the default settings, and Spark's Arrow batches of it."""


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
        store_slice(postgres, Source("bench", "bench", partition), select(targets), {}, batches)
    return time.perf_counter() - began


def main() -> None:
    chosen = options(__doc__, count=200_000, rounds=3)
    settings, name = load().postgres, f"bench_{secrets.token_hex(4)}"
    with connect(settings, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    own = settings.model_copy(update={"database": name})
    try:
        found = messages(max(chosen.count, 2 * SLICE))
        rows = len(found) - SLICE
        runs = in_turns(
            {
                "all": lambda: rows / seconds(own, found, ALL),
                "tables": lambda: rows / seconds(own, found, TABLES),
            },
            chosen.rounds,
        )
    finally:
        close(own)
        with connect(settings, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
    line = beside(
        "one worker, with profiles",
        runs["all"],
        "rows/s",
        "tables alone",
        runs["tables"],
        note="no Kafka, no Spark",
    )
    report("profiles", [line], chosen, runs=runs)


if __name__ == "__main__":
    main()
