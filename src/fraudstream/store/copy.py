"""Arrow tables to PostgreSQL and back, by COPY."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pgpq
import psycopg
from pgpq.encoders import StringEncoderBuilder
from pgpq.schema import Jsonb
from psycopg import sql

from fraudstream.store.connection import SCHEMA, Cursor

if TYPE_CHECKING:
    import pyarrow as pa


def copy_rows(cursor: Cursor, table: sql.Composable, rows: "pa.Table") -> None:
    """Binary COPY of `rows` into the columns of the same names. Raises psycopg's errors."""
    encoder = _encoder(rows.schema)
    columns = sql.SQL(", ").join(map(sql.Identifier, rows.schema.names))
    with cursor.copy(sql.SQL("copy {} ({}) from stdin (format binary)").format(table, columns)) as stream:
        stream.write(encoder.write_header())
        for batch in rows.to_batches():
            stream.write(encoder.write_batch(batch))
        stream.write(encoder.finish())


def _encoder(schema: "pa.Schema") -> pgpq.ArrowToPostgresBinaryEncoder:
    """An encoder from Arrow types to PostgreSQL's; a string field marked with `decision.JSON_COLUMN` becomes jsonb."""
    marked = {field.name for field in schema if (field.metadata or {}).get(b"postgres") == b"jsonb"}
    if not marked:  # an encoder from given parts takes 0.7 ms, as long as a hundred rows
        return pgpq.ArrowToPostgresBinaryEncoder(schema)
    infer = pgpq.ArrowToPostgresBinaryEncoder.infer_encoder
    encoders = {
        field.name: StringEncoderBuilder.new_with_output(field, Jsonb())
        if field.name in marked
        else infer(field)
        for field in schema
    }
    return pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(schema, encoders)


def insert_new(  # noqa: PLR0913 - what, where, and how often it is there
    cursor: Cursor,
    table: str,
    rows: "pa.Table",
    key: str,
    columns: Sequence[str] | None = None,
    *,
    repeated: bool = False,
) -> "pa.Table":
    """Store the rows whose primary key is not there yet, and return those. `key` identifies a row.

    `columns` are those that the table has, if `rows` have others as well. COPY goes straight into the table, as
    duplicates are rare; if it fails on the key, it is repeated through a temporary table. If keys are usually
    `repeated`, the table is queried for them first, as PostgreSQL logs each violation as an error. The first row of a
    key wins, in the table and within `rows`.
    """
    if repeated and rows.num_rows:
        rows = _unknown(cursor, table, rows, key)
    if not rows.num_rows:
        return rows
    name = sql.Identifier(SCHEMA, table)
    stored = rows if columns is None else rows.select(columns)
    try:
        with cursor.connection.transaction():  # a savepoint: the caller's transaction outlives a refused COPY
            copy_rows(cursor, name, stored)
    except psycopg.errors.UniqueViolation:
        return rows.take(_insert_around_duplicates(cursor, table, stored, key))
    return rows


def _unknown(cursor: Cursor, table: str, rows: "pa.Table", key: str) -> "pa.Table":
    """The first row of each key that the table does not have yet."""
    import pyarrow as pa

    first = _first_places(rows, key)
    question = sql.SQL("select {0} from {1} where {0} = any(%s)").format(
        sql.Identifier(key), sql.Identifier(SCHEMA, table)
    )
    there = {value for (value,) in cursor.execute(question, [list(first)])}
    return rows.take(
        pa.array(sorted(place for value, place in first.items() if value not in there), pa.int64())
    )


def _first_places(rows: "pa.Table", key: str) -> dict[object, int]:
    """The index of each key's first row."""
    return {value: place for place, value in reversed(list(enumerate(rows[key].to_pylist())))}


def _insert_around_duplicates(cursor: Cursor, table: str, rows: "pa.Table", key: str) -> "pa.Array":
    """Store the new ones of `rows`; returns their indices, in order."""
    import pyarrow as pa

    name, staging = sql.Identifier(SCHEMA, table), sql.Identifier("pg_temp", f"new_{table}")
    columns = sql.SQL(", ").join(map(sql.Identifier, rows.schema.names))
    cursor.execute(
        sql.SQL(
            "create temporary table if not exists {} (like {} including defaults) on commit delete rows"
        ).format(sql.Identifier(f"new_{table}"), name)
    )
    cursor.execute(sql.SQL("truncate {}").format(staging))
    copy_rows(cursor, staging, rows)
    # `ctid` is the order of arrival: of two messages with the same key the first is kept, as everywhere.
    cursor.execute(
        sql.SQL(
            "insert into {} ({}) select {} from {} order by ctid on conflict do nothing returning {}"
        ).format(name, columns, columns, staging, sql.Identifier(key))
    )
    first = _first_places(rows, key)
    return pa.array(sorted(first[value] for (value,) in cursor.fetchall()), pa.int64())


BLOCK_BYTES = 4 << 20
"""Bytes of text parsed at a time: some ten thousand rows, hundreds of times the longest one."""


def read_rows(
    cursor: Cursor,
    query: sql.Composable,
    schema: "pa.Schema",
    parameters: Mapping[str, Any] | None = None,
    heard: Callable[[], None] = lambda: None,
) -> "pa.Table":
    """The result of `query` as a table of `schema`: strings, float64, bool and timestamps in microseconds of UTC.

    The columns of `query` have the names of `schema`. Streamed as CSV, which distinguishes a null (nothing) from an
    empty string (two quotes), has all digits of floats, and which Arrow parses faster than Python could
    create objects: neither the whole text nor a Python object per row is ever in memory.

    `heard` is called for each block that arrives: how long all of them take says nothing about PostgreSQL's health.
    """
    import pyarrow as pa
    from pyarrow import csv

    instants = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    columns = [
        sql.SQL("(extract(epoch from {0}) * 1000000)::bigint").format(sql.Identifier(name))
        if name in instants
        else sql.Identifier(name)
        for name in schema.names
    ]
    statement = sql.SQL("copy (select {} from ({}) as q) to stdout (format csv)").format(
        sql.SQL(", ").join(columns), query
    )
    with cursor.copy(statement, parameters) as stream:
        text = _Text(stream, heard)
        if text.is_empty():
            return schema.empty_table()
        reader = csv.open_csv(
            pa.PythonFile(text, mode="r"),
            # A single thread: a second one would read from the connection while this one is stopping.
            read_options=csv.ReadOptions(
                column_names=schema.names, block_size=BLOCK_BYTES, use_threads=False
            ),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types={f.name: pa.int64() if f.name in instants else f.type for f in schema},
                null_values=[""],
                true_values=["t"],
                false_values=["f"],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        return pa.Table.from_batches(reader, reader.schema).cast(schema)


class _Text:
    """COPY's output as a file that Arrow reads."""

    closed = False

    def __init__(self, stream: psycopg.Copy, heard: Callable[[], None]) -> None:
        self._stream, self._heard = stream, heard
        self._held = bytearray(stream.read())

    def is_empty(self) -> bool:
        """Whether there are no rows."""
        return not self._held

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end."""
        held, read = self._held, self._stream.read
        while len(held) < size and (row := read()):
            held += row
        self._heard()
        taken = bytes(held[:size])
        del held[:size]
        return taken

    def close(self) -> None:
        """Arrow calls this; the stream belongs to the caller."""
