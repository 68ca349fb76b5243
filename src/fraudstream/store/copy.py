"""Arrow tables to PostgreSQL and back, by COPY."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pgpq
import psycopg
from pgpq.encoders import StringEncoderBuilder
from pgpq.schema import Jsonb
from psycopg import sql

from fraudstream.store.connection import Cursor
from fraudstream.store.tables import SCHEMA

if TYPE_CHECKING:
    import pyarrow as pa


def copy_rows(cursor: Cursor, table: sql.Composable, rows: "pa.Table") -> None:
    """Binary COPY of `rows` into the columns of the same names. Raises what PostgreSQL says."""
    encoder = _encoder(rows.schema)
    columns = sql.SQL(", ").join(map(sql.Identifier, rows.schema.names))
    with cursor.copy(sql.SQL("copy {} ({}) from stdin (format binary)").format(table, columns)) as stream:
        stream.write(encoder.write_header())
        for batch in rows.to_batches():
            stream.write(encoder.write_batch(batch))
        stream.write(encoder.finish())


def _encoder(schema: "pa.Schema") -> pgpq.ArrowToPostgresBinaryEncoder:
    """Arrow types as PostgreSQL's; a string whose field says so (`decision.JSON_COLUMN`) is jsonb."""
    infer = pgpq.ArrowToPostgresBinaryEncoder.infer_encoder
    encoders = {
        field.name: StringEncoderBuilder.new_with_output(field, Jsonb())
        if (field.metadata or {}).get(b"postgres") == b"jsonb"
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
    """Store the rows whose primary key is not there yet, and return those. `key` tells them apart.

    `columns` are those that the table has, if `rows` have others as well. Straight into the table, as duplicates are
    rare; where the key objects, once more by way of a temporary table. Where keys are `repeated` as a rule it is asked
    for them before, as PostgreSQL writes each refusal to its log as an error. The first row of a key wins, in the table
    and within `rows`.
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
    """Where each key stands for the first time."""
    return {value: place for place, value in reversed(list(enumerate(rows[key].to_pylist())))}


def _insert_around_duplicates(cursor: Cursor, table: str, rows: "pa.Table", key: str) -> "pa.Array":
    """Store what is new of `rows`; returns its places among them, in order."""
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
    # `ctid` is the order of arrival: of two messages with one key the first is kept, as everywhere.
    cursor.execute(
        sql.SQL(
            "insert into {} ({}) select {} from {} order by ctid on conflict do nothing returning {}"
        ).format(name, columns, columns, staging, sql.Identifier(key))
    )
    first = _first_places(rows, key)
    return pa.array(sorted(first[value] for (value,) in cursor.fetchall()), pa.int64())


BLOCK_BYTES = 4 << 20
"""Text that is parsed at a time: some ten thousand rows, hundreds of times the longest."""


def read_rows(
    cursor: Cursor, query: sql.Composable, schema: "pa.Schema", parameters: Mapping[str, Any] | None = None
) -> "pa.Table":
    """What `query` selects, as a table of `schema`: texts, float64, bool and instants in microseconds of UTC.

    The columns of `query` bear the names of `schema`. Streamed as CSV, which writes a null (nothing) and an
    empty text (two quotes) apart, floats in full, and which Arrow parses faster than Python could
    make objects: neither the text nor a Python row for each row is ever held whole.
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
        text = _Text(stream)
        if text.is_empty():
            return schema.empty_table()
        reader = csv.open_csv(
            pa.PythonFile(text, mode="r"),
            # One thread: a second one would read from the connection while this one is stopping.
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

    def __init__(self, stream: psycopg.Copy) -> None:
        self._stream = stream
        self._held = bytearray(stream.read())

    def is_empty(self) -> bool:
        """Whether there is no row."""
        return not self._held

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        held, read = self._held, self._stream.read
        while len(held) < size and (row := read()):
            held += row
        taken = bytes(held[:size])
        del held[:size]
        return taken

    def close(self) -> None:
        """Arrow calls this; the stream belongs to the caller."""
