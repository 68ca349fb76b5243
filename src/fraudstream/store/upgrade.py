"""Makes the tables of the schema `shop`, or brings them up to date, by Alembic's migrations, one process at a time."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from fraudstream.errors import DatabaseError
from fraudstream.logs import get_logger
from fraudstream.settings import PostgresSettings
from fraudstream.store import migrate
from fraudstream.store.connection import SCHEMA, Connection, connect, translated
from fraudstream.store.rows import one

log = get_logger("store.migrate")

LOCK = 0x66726175  # "frau": any number will do, as long as all versions of the program agree on it
WAIT_MINUTES = 30
"""Minutes to wait for another process that upgrades: a new index on hundreds of millions of rows takes that long."""
LOCK_MILLISECONDS = 800
"""How long one attempt to lock the tables lasts. Everybody else waits behind it; and after a second, PostgreSQL looks for
sessions that wait for each other, and ends one."""
PAUSE_SECONDS = 0.5
"""Between two attempts, in which others get on."""
TELL_SECONDS = 30.0

_OURS = """
select oid::regclass::text from pg_class
where relnamespace = to_regnamespace(%s) and relkind in ('v', 'r', 'p') and pg_has_role(relowner, 'usage')
order by relkind <> 'v', relname"""
"""Views first, as for a reader."""
_USERS = """
select distinct format('%%s (process %%s)', coalesce(nullif(application_name, ''), usename), pid)
from pg_locks join pg_stat_activity using (pid) join pg_class on pg_class.oid = relation
where relnamespace = to_regnamespace(%s) and granted and pid <> pg_backend_pid() order by 1 limit 10"""


def upgrade(postgres: PostgresSettings) -> None:
    """Create or upgrade the tables; see `migrate.migrate`."""
    head = migrate.head_revision()
    with sqlalchemy_connection(postgres) as held:
        connection = cast("Connection", held.connection.driver_connection)
        _take_turn(connection)
        found = migrate.revision(connection)
        if found == head:
            return
        if found is not None and not any(migrate.VERSIONS.glob(f"{found}_*.py")):
            raise DatabaseError(
                f"The database has schema revision {found}, which this version of fraudstream does not know.",
                hint="It was written by a newer version: upgrade fraudstream here, too.",
            )
        migrate.refuse_version(connection.info.server_version)
        if found is None:
            (encoding,) = one(connection, "show server_encoding")
            migrate.refuse_encoding(encoding)
            migrate.refuse_strangers(connection, postgres.database)
        # Checked first: `create schema if not exists` needs the right to create schemas even if the schema exists.
        (is_missing,) = one(connection, "select to_regnamespace(%s) is null", (SCHEMA,))
        if is_missing:
            held.execute(sa.text(f"create schema {SCHEMA}"))
        _stop_readers(connection)
        command.upgrade(config(held), "head")
        held.commit()
        if found is None:
            log.info("Made the tables in schema %s.", SCHEMA)
        else:
            log.info("Brought the tables in schema %s from revision %s to %s.", SCHEMA, found, head)


def _take_turn(connection: Connection) -> None:
    """Lock out other upgrades until commit. Raises DatabaseError after WAIT_MINUTES: anybody who may log in can hold the lock."""
    (is_first,) = one(connection, "select pg_try_advisory_xact_lock(%s)", (LOCK,))
    if is_first:
        return
    log.info("Waiting for another session that makes or upgrades the tables.")
    connection.execute(f"set local lock_timeout = '{WAIT_MINUTES}min'".encode())
    try:
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
    except psycopg.errors.LockNotAvailable:
        raise DatabaseError(
            f"Another session has held the lock on making and upgrading tables for {WAIT_MINUTES} minutes.",
            hint="If it is no upgrade that you wait for, end it: `pg_locks` names its process, with locktype advisory.",
        ) from None
    connection.execute("set local lock_timeout = default")


def _stop_readers(connection: Connection) -> None:
    """Lock all of our tables and views until commit. Raises DatabaseError if somebody has used them for WAIT_MINUTES.

    A reader of a view locks that first, and then its tables; a revision that has changed a table asks for the view
    afterwards: without this, they wait for each other, and PostgreSQL ends one of them.
    """
    ours = connection.execute(_OURS, (SCHEMA,)).fetchall()
    if not ours:
        return
    names = ", ".join(name for (name,) in ours)
    deadline, told = time.monotonic() + 60 * WAIT_MINUTES, -math.inf
    while True:
        try:
            with connection.transaction():
                connection.execute(f"set local lock_timeout = {LOCK_MILLISECONDS}")
                connection.execute(f"lock table {names} in access exclusive mode".encode())
                connection.execute("set local lock_timeout = default")
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            users = "; ".join(who for (who,) in connection.execute(_USERS, (SCHEMA,)).fetchall())
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"The tables could not be upgraded: other sessions have used them for {WAIT_MINUTES} minutes.",
                    hint=f"End them, and start again: {users}." if users else "Start again.",
                ) from None
            if time.monotonic() > told + TELL_SECONDS:
                told = time.monotonic()
                log.info("The upgrade waits for sessions that use the tables: %s", users or "they change")
            time.sleep(PAUSE_SECONDS)
        else:
            return


@contextmanager
def sqlalchemy_connection(postgres: PostgresSettings) -> Iterator[sa.Connection]:
    """A connection for Alembic, which only knows SQLAlchemy's. Raises DatabaseError for any error in it."""
    engine = sa.create_engine(
        "postgresql+psycopg://", creator=lambda: connect(postgres), poolclass=sa.pool.NullPool
    )
    with translated(postgres):
        try:
            with engine.connect() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            if isinstance(error.orig, psycopg.Error):
                raise error.orig from None
            raise


def config(connection: sa.Connection | None = None) -> Any:
    """Alembic's settings: our migrations, on this connection."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    made.attributes["connection"] = connection
    return made
