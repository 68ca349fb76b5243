"""One connection per process and database, reused by all tasks of a worker: a login costs 10 ms, a tenth of a small batch."""

import psycopg

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import Connection, connect

_held: dict[PostgresSettings, Connection] = {}


def connection(postgres: PostgresSettings) -> Connection:
    """This process's connection, in autocommit, checked to be alive. Raises what `connect` does."""
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
    """Close this process's connection, if it has one."""
    held = _held.pop(postgres, None)
    if held is not None:
        held.close()
