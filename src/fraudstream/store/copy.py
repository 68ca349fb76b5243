"""Arrow rows into a table by binary COPY, skipping what is there already."""

from typing import TYPE_CHECKING, Any

import pgpq
import psycopg
from psycopg import sql

from fraudstream.store.tables import SCHEMA

if TYPE_CHECKING:
    import pyarrow as pa

    Cursor = psycopg.Cursor[tuple[Any, ...]]


def copy_rows(cursor: "Cursor", table: sql.Composable, rows: "pa.Table") -> None:
    """Binary COPY of `rows` into the columns of the same names. Raises what PostgreSQL says."""
    encoder = pgpq.ArrowToPostgresBinaryEncoder(rows.schema)
    columns = sql.SQL(", ").join(map(sql.Identifier, rows.schema.names))
    with cursor.copy(sql.SQL("copy {} ({}) from stdin (format binary)").format(table, columns)) as stream:
        stream.write(encoder.write_header())
        for batch in rows.to_batches():
            stream.write(encoder.write_batch(batch))
        stream.write(encoder.finish())


def insert_new(cursor: "Cursor", table: str, rows: "pa.Table") -> int:
    """Store the rows whose primary key is not there yet, and return how many those are.

    Straight into the table, as duplicates are rare; where the key objects, once more by way of a
    temporary table. The first row of a key wins, in the table and within `rows`.
    """
    count: int = rows.num_rows
    if not count:
        return 0
    name = sql.Identifier(SCHEMA, table)
    try:
        with cursor.connection.transaction():  # a savepoint: the caller's transaction outlives a refused COPY
            copy_rows(cursor, name, rows)
    except psycopg.errors.UniqueViolation:
        return _insert_around_duplicates(cursor, name, table, rows)
    return count


def _insert_around_duplicates(cursor: "Cursor", name: sql.Composable, table: str, rows: "pa.Table") -> int:
    staging = sql.Identifier("pg_temp", f"new_{table}")
    columns = sql.SQL(", ").join(map(sql.Identifier, rows.schema.names))
    cursor.execute(
        sql.SQL(
            "create temporary table if not exists {} (like {} including defaults) on commit delete rows"
        ).format(sql.Identifier(f"new_{table}"), name)
    )
    cursor.execute(sql.SQL("truncate {}").format(staging))
    copy_rows(cursor, staging, rows)
    # `ctid` is the order of arrival: of two messages with one key the first is kept, as everywhere.
    cursor.execute(
        sql.SQL("insert into {} ({}) select {} from {} order by ctid on conflict do nothing").format(
            name, columns, columns, staging
        )
    )
    return cursor.rowcount
