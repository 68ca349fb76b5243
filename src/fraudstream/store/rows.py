"""Results of queries: rows as objects, whose fields are the columns of the query, or as tuples."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from psycopg import sql
from psycopg.rows import class_row

from fraudstream.store.connection import Connection, Cursor

Row = TypeVar("Row")
Values = Mapping[str, Any] | Sequence[Any]


def columns(kind: type[Any]) -> str:
    """The fields of a dataclass, as a select list; not those with a default, which no query fills."""
    return ", ".join(field.name for field in fields(kind) if field.default is MISSING)


def rows(connection: Connection, kind: type[Row], query: str, values: Values = ()) -> list[Row]:
    """All rows of a query, whose columns are the fields of `kind` in any order."""
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(query.encode(), values).fetchall()


def row(connection: Connection, kind: type[Row], query: str, values: Values = ()) -> Row | None:
    """The first row of a query, or None."""
    return next(iter(rows(connection, kind, query, values)), None)


def only(connection: Connection, kind: type[Row], query: str, values: Values = ()) -> Row:
    """The row of a query that always has one, such as an aggregate."""
    found = row(connection, kind, query, values)
    assert found is not None, "this query always has a row"  # noqa: S101 - narrows the type
    return found


def one(source: Connection | Cursor, query: str | sql.Composed, values: Values = ()) -> tuple[Any, ...]:
    """The same as a tuple."""
    found = source.execute(query.encode() if isinstance(query, str) else query, values).fetchone()
    assert found is not None, "this query always has a row"  # noqa: S101 - narrows the type
    return found
