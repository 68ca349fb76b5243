"""Decisions a second through the sink, and what the hourly sums cost it: one process, one slice after another.

Decisions are decoded, stored, counted in hours and bins, and one in a hundred becomes an alert with its reasons (a forest
of 100 trees over every feature). Without Kafka and Spark, so that nothing hides the cost. The hourly sums are
given as their share of the sink of transactions.

    python benchmarks/scores.py [--count N] [--rounds N] [--quick] [--json]

Needs a PostgreSQL (`fraudstream up`, or what the settings name); makes a database of its own there and removes it.
"""

import json
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import numpy as np
from explain import forest
from measure import alone, in_turns, options, report
from psycopg import sql
from stage import TABLES, messages

from fraudstream.features.definitions import DEFAULTS
from fraudstream.kafka import Messages
from fraudstream.model import artifact, packing
from fraudstream.model.manifest import FORMAT
from fraudstream.settings import PostgresSettings, load
from fraudstream.store import registry
from fraudstream.store.connection import connect
from fraudstream.store.held import close
from fraudstream.store.hourly import Hourly
from fraudstream.store.migrate import migrate
from fraudstream.store.offsets import Source
from fraudstream.store.slices import store_slice
from fraudstream.store.targets import select

FLAGGED = 0.01
SLICE, BATCH = 50_000, 10_000
"""A partition's share of a micro-batch with the default settings, and Spark's Arrow batches of it."""


def decisions(x: Any, count: int) -> list[bytes]:
    """Messages of the scorer, as it writes them; `x` has rows of features."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    rows = [dict(zip(DEFAULTS, row, strict=True)) for row in x[:1000].round(6).tolist()]
    return [
        json.dumps(
            {
                "transaction_id": f"t-{n:012}", "user_id": f"u-{n % 5000}", "timestamp": now, "amount": 12.5,
                "device": "Pixel 9", "location": "Paris, FR", "transaction_location": "Lyon, FR",
                "merchant_id": f"m-{n % 300}", "currency": "USD", "risk": (n % 100) / 100,
                "flagged": n % round(1 / FLAGGED) == 99, "rules": [], "model_version": "bench", "scored_at": now,
                "sent_at": now, "features": rows[n % 1000],
            }
        ).encode()
        for n in range(count)
    ]  # fmt: skip


def register(postgres: PostgresSettings) -> Any:
    """Put a forest into the registry; returns rows of features."""
    ensemble, x = forest()
    manifest = {
        "format": FORMAT, "version": "bench", "algorithm": "random_forest", "features": list(DEFAULTS),
        "threshold": 0.98, "training": {"rows": 1000, "frauds": 5},
        "score_reference": {"edges": np.linspace(0.05, 0.95, 19).tolist(), "shares": [0.05] * 20},
    }  # fmt: skip
    files = artifact.files_of(manifest, _Nothing(), ensemble)
    registry.register(postgres, manifest, packing.pack(files))
    return x


class _Nothing:
    """The estimator is never opened here."""

    def fit(self, _x: Any, _y: Any) -> None: ...
    def risk(self, x: Any) -> Any:
        return np.zeros(len(x))


def stored(postgres: PostgresSettings, found: Sequence[bytes], *targets: str) -> tuple[float, float]:
    """Seconds by the clock, and of this process's CPU, for all slices but the first, into empty tables."""
    with connect(postgres) as connection:
        connection.execute(
            "truncate shop.transactions, shop.fraud_transactions, shop.scores, shop.alerts, shop.hourly,"
            " shop.risk_bins, shop.stream_offsets"
        )
    clock = cpu = 0.0
    for partition, first in enumerate(range(0, len(found), SLICE)):
        if partition == 1:  # the first slice connects, makes its temporary tables and reads the model
            clock, cpu = time.perf_counter(), time.process_time()
        part = found[first : first + SLICE]
        batches = [
            Messages(range(i, i + len(some)), [None] * len(some), some)
            for i in range(0, len(part), BATCH)
            for some in [part[i : i + BATCH]]
        ]
        store_slice(postgres, Source("bench", "bench", partition), select(targets), {}, batches)
    return time.perf_counter() - clock, time.process_time() - cpu


def share_of_hours(postgres: PostgresSettings, found: Sequence[bytes], *targets: str) -> float:
    """Percent of the sink's time, by the clock, that goes into the hourly sums, PostgreSQL's answer included.

    Taken inside one run: beside a run without them the difference drowns in what else the machine does.
    """
    spent = 0.0

    def timed(method: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            nonlocal spent
            began = time.perf_counter()
            method(*arguments)
            spent += time.perf_counter() - began

        return call

    with (
        mock.patch.object(Hourly, "add", timed(Hourly.add)),
        mock.patch.object(Hourly, "finish", timed(Hourly.finish)),
    ):
        began = time.perf_counter()
        stored(postgres, found, *targets)
        return 100 * spent / (time.perf_counter() - began)


@contextmanager
def database() -> Iterator[PostgresSettings]:
    """A database of this run's own, with tables."""
    settings, name = load().postgres, f"bench_{secrets.token_hex(4)}"
    with connect(settings, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    own = settings.model_copy(update={"database": name})
    try:
        migrate(own)
        yield own
    finally:
        close(own)
        with connect(settings, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def main() -> None:
    chosen = options(__doc__, count=200_000, rounds=5)
    count = max(chosen.count, 2 * SLICE)
    with database() as postgres:
        judged = decisions(register(postgres), count)
        transactions = messages(count)
        runs = in_turns(
            {
                "scores": lambda: stored(postgres, judged, "scores"),
                "hours": lambda: (share_of_hours(postgres, transactions, *TABLES), 0.0),
            },
            chosen.rounds,
        )
    rows = count - SLICE
    clock, cpu = zip(*runs["scores"], strict=True)
    report(
        "scores",
        [
            alone("decisions stored", rows / statistics.median(clock), "/s"),
            alone(
                "CPU of a decision", statistics.median(cpu) / rows * 1e6, "µs", note="without PostgreSQL's"
            ),
            alone(
                "hourly sums in the sink of transactions",
                statistics.median(share for share, _ in runs["hours"]),
                "%",
                at_most=2,
            ),
        ],
        chosen,
    )


if __name__ == "__main__":
    main()
