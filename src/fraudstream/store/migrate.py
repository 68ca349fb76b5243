"""Whether the schema `shop` is up to date, which every command asks first; if it is not, it is brought up to date."""

from pathlib import Path

from fraudstream.errors import DatabaseError
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import SCHEMA, Connection, connected
from fraudstream.store.rows import one

OLDEST = 14
"""The first PostgreSQL whose BRIN indexes support Bloom filters (`text_bloom_ops`), which we use for customers."""
VERSIONS = Path(__file__).parent / "migrations" / "versions"
"""A file for each revision, whose name begins with its number."""


def migrate(postgres: PostgresSettings) -> None:
    """Create or upgrade the tables. Does nothing, and needs no rights, if they are up to date.

    Raises DatabaseError if the database is newer than this program, the server is too old, new tables
    could not store every character, or the user lacks the rights.
    """
    with connected(postgres) as connection:
        if revision(connection) == head_revision():
            return
    # Imported only for that: SQLAlchemy and Alembic would take half of a short command's time.
    from fraudstream.store.upgrade import upgrade

    upgrade(postgres)


def head_revision() -> str:
    """The revision that this version of the program needs."""
    head = max((path.name[:4] for path in VERSIONS.glob("[0-9]*.py")), default=None)
    if head is None:
        raise DatabaseError("The package contains no migrations.", hint="Reinstall fraudstream.")
    return head


def current_revision(postgres: PostgresSettings) -> str | None:
    """The revision of the database, or None if it has no tables of ours yet.

    Raises DatabaseError, also if tables of others stand where ours would be made.
    """
    with connected(postgres) as connection:
        found = revision(connection)
        if found is None:
            refuse_strangers(connection, postgres.database)
        return found


def revision(connection: Connection) -> str | None:
    """The revision of the tables, as Alembic keeps it; None if there are none."""
    (exists,) = one(connection, "select to_regclass(%s) is not null", (f"{SCHEMA}.alembic_version",))
    if not exists:
        return None
    found = connection.execute(f"select version_num from {SCHEMA}.alembic_version".encode()).fetchone()  # noqa: S608 - constants
    return str(found[0]) if found else None


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


def refuse_strangers(connection: Connection, database: str) -> None:
    """Raise DatabaseError if the schema has other tables: restoring a backup of it would restore those as well."""
    strangers = [name for (name,) in connection.execute(_STRANGERS, (SCHEMA,))]
    if strangers:
        raise DatabaseError(
            f"The schema {SCHEMA} of the database {database} has tables that are not fraudstream's: {', '.join(strangers)}.",
            hint="Use another database: FRAUDSTREAM_POSTGRES__DATABASE.",
        )


_STRANGERS = (
    "select relname from pg_catalog.pg_class where relnamespace = to_regnamespace(%s)"
    " and relkind in ('r', 'p', 'v', 'm', 'f', 'S') and relname <> 'alembic_version' order by relname limit 5"
)
"""Without the table of versions, which is empty where all of ours were taken out again."""
