"""A PostgreSQL that does not wait for its disk."""

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connect


def unsync(postgres: PostgresSettings) -> None:
    """Have a server leave to the operating system when its files reach the disk.

    Only for one that no test kills: the last commits before a kill would be lost.
    """
    with connect(postgres, autocommit=True) as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"alter system set {name} = off".encode())
        connection.execute("select pg_reload_conf()")
