"""One connection for each process and database, held between the tasks of a worker: a new login costs 10 ms, a tenth of a small batch."""

import psycopg

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import Connection, connect

_held: dict[PostgresSettings, Connection] = {}


def connection(postgres: PostgresSettings) -> Connection:
    """This process's connection, in autocommit, found alive before anything hangs on it. Raises what `connect` does."""
    held = _held.get(postgres)
    if held is not None:
        try:
            held.execute("select 1")
        except psycopg.Error:
            close(postgres)
        else:
            return held
    _held[postgres] = connect(postgres, autocommit=True)
    return _held[postgres]


def close(postgres: PostgresSettings) -> None:
    """Forget this process's connection, where it has one."""
    held = _held.pop(postgres, None)
    if held is not None:
        held.close()
