"""Brings the schema `shop` up to date, one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from fraudstream.errors import DatabaseError
from fraudstream.logs import get_logger
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import SCHEMA, connect, translated

log = get_logger("store.migrate")

LOCK = 0x66726175  # "frau": any number will do, as long as all versions of the program agree on it

OLDEST = 14
"""The first PostgreSQL whose BRIN indexes support Bloom filters (`text_bloom_ops`), which we use for customers."""


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


def _config(connection: sa.Connection | None = None) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def head_revision() -> str:
    """The revision that this version of the program needs."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise DatabaseError("The package contains no migrations.", hint="Reinstall fraudstream.")
    return head


def _revision(connection: sa.Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(
        connection, opts={"version_table_schema": SCHEMA}
    ).get_current_revision()


def current_revision(postgres: PostgresSettings) -> str | None:
    """The revision of the database, or None if it has no tables of ours yet.

    Raises DatabaseError, also if tables of others stand where ours would be made.
    """
    with sqlalchemy_connection(postgres) as connection:
        found = _revision(connection)
        if found is None:
            _refuse_strangers(connection, postgres.database)
        return found


def refuse_version(number: int) -> None:
    """Raise DatabaseError if a server with this `server_version_num` is too old for the tables."""
    if number < OLDEST * 10_000:
        raise DatabaseError(
            f"The server is PostgreSQL {number // 10_000}, but the tables need {OLDEST} or newer.",
            hint=f"Upgrade the server to PostgreSQL {OLDEST} or newer, or set FRAUDSTREAM_POSTGRES__HOST to one.",
        )


def refuse_encoding(encoding: str) -> None:
    """Raise DatabaseError if a database of this encoding cannot store every character."""
    if encoding not in ("UTF8", "SQL_ASCII"):  # the latter stores bytes unchanged, and ours are UTF-8
        raise DatabaseError(
            f"The database has the encoding {encoding}, which lacks characters that messages may have:"
            " the first one would stop the stream.",
            hint="Create another one: `create database … encoding 'UTF8' template template0`.",
        )


def _refuse_strangers(connection: sa.Connection, database: str) -> None:
    """Raise DatabaseError if the schema has other tables: restoring a backup of it would restore those as well."""
    if strangers := connection.scalars(_STRANGERS, {"schema": SCHEMA}).all():
        raise DatabaseError(
            f"The schema {SCHEMA} of the database {database} has tables that are not fraudstream's: {', '.join(strangers)}.",
            hint="Use another database: FRAUDSTREAM_POSTGRES__DATABASE.",
        )


_STRANGERS = sa.text(
    "select relname from pg_catalog.pg_class where relnamespace = to_regnamespace(:schema)"
    " and relkind in ('r', 'p', 'v', 'm', 'f', 'S') and relname <> 'alembic_version' order by relname limit 5"
)
"""Without the table of versions, which is empty where all of ours were taken out again."""


def migrate(postgres: PostgresSettings) -> None:
    """Create or upgrade the tables. Does nothing, and needs no rights, if they are up to date.

    Raises DatabaseError if the database is newer than this program, the server is too old, new tables
    could not store every character, or the user lacks the rights.
    """
    from alembic import command
    from alembic.script import ScriptDirectory

    head = head_revision()
    with sqlalchemy_connection(postgres) as connection:
        if _revision(connection) == head:
            return
        # Held until commit: a second process waits here, then finds the work done.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
        found = _revision(connection)
        if found == head:
            return
        script = ScriptDirectory.from_config(_config())
        if found is not None and found not in {revision.revision for revision in script.walk_revisions()}:
            raise DatabaseError(
                f"The database has schema revision {found}, which this version of fraudstream does not know.",
                hint="It was written by a newer version: upgrade fraudstream here, too.",
            )
        refuse_version(int(connection.scalar(sa.text("show server_version_num")) or 0))
        if found is None:
            refuse_encoding(str(connection.scalar(sa.text("show server_encoding"))))
            _refuse_strangers(connection, postgres.database)
        # Checked first: `create schema if not exists` needs the right to create schemas even if the schema exists.
        if connection.scalar(sa.select(sa.func.to_regnamespace(SCHEMA).is_(None))):
            connection.execute(sa.text(f"create schema {SCHEMA}"))
        command.upgrade(_config(connection), "head")
        connection.commit()
        if found is None:
            log.info("Made the tables in schema %s.", SCHEMA)
        else:
            log.info("Brought the tables in schema %s from revision %s to %s.", SCHEMA, found, head)
