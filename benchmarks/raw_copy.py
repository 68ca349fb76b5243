"""The limit of what stores rows in PostgreSQL: COPY of rows that are decoded already, by four connections at once."""

import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from psycopg import sql
from stage import Cpu, messages

from fraudstream.decode import Decoder
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.store.connection import connect
from fraudstream.store.copy import copy_rows
from fraudstream.store.migrate import migrate

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

CONNECTIONS = 4
"""As many as `consume` has with the default settings."""
SLICE, BATCH = 50_000, 10_000
"""Rows of a transaction and of a COPY, as `consume` has them."""


def copy(settings: Settings, count: int) -> tuple[float, dict[str, float]]:
    """Rows a second and CPU microseconds for each row, into an empty `shop.transactions`."""
    with connect(settings.postgres) as connection:
        connection.execute("drop schema if exists shop cascade")
    migrate(settings.postgres)
    context = multiprocessing.get_context("spawn")  # a fork of a process with a JVM's threads may hang
    ready = context.Barrier(CONNECTIONS + 1)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows.arrow"
        _write(path, count)
        workers = [
            context.Process(target=_copy, args=(settings.postgres, path, number, ready))
            for number in range(CONNECTIONS)
        ]
        for worker in workers:
            worker.start()
        # Which processes there are is looked up while these get ready: it takes a tenth of a second, in which they would copy.
        cpu, deadline = Cpu(settings), time.monotonic() + 120
        while ready.n_waiting < CONNECTIONS:
            assert time.monotonic() < deadline, "no worker is ready"
            assert all(worker.is_alive() for worker in workers), "a worker failed"
            time.sleep(0.01)
        with cpu:
            ready.wait(120)
            began = time.perf_counter()
            for worker in workers:
                worker.join()
            seconds = time.perf_counter() - began
    with connect(settings.postgres) as connection:
        assert connection.execute("select count(*) from shop.transactions").fetchone() == (count,)
    return count / seconds, cpu.each(count)


def _write(path: Path, count: int) -> None:
    found, decoder = messages(count), Decoder()
    with pa.OSFile(str(path), "wb") as file:
        writer = None
        for first in range(0, count, BATCH):
            rows = decoder.decode(found[first : first + BATCH]).rows.combine_chunks()
            writer = writer or pa.ipc.new_file(file, rows.schema)
            writer.write_table(rows)
        assert writer is not None, "at least one row"
        writer.close()


def _copy(postgres: PostgresSettings, path: Path, number: int, ready: "Barrier") -> None:
    """Every CONNECTIONS-th batch, as partitions share a topic."""
    batches = pa.ipc.open_file(pa.memory_map(str(path)))
    mine = [batches.get_batch(i) for i in range(number, batches.num_record_batches, CONNECTIONS)]
    table = sql.Identifier("shop", "transactions")
    with connect(postgres, autocommit=True) as connection:
        ready.wait(120)
        for first in range(0, len(mine), SLICE // BATCH):
            with connection.transaction(), connection.cursor() as cursor:
                for batch in mine[first : first + SLICE // BATCH]:
                    copy_rows(cursor, table, pa.Table.from_batches([batch]))
