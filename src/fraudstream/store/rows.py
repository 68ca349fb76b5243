"""Rows as objects: the columns of a query are the fields of a dataclass."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from psycopg.rows import class_row

from fraudstream.store.connection import Connection

Row = TypeVar("Row")
Values = Mapping[str, Any] | Sequence[Any]


def columns(kind: type[Any]) -> str:
    """The fields of a dataclass, for a query."""
    return ", ".join(field.name for field in fields(kind))


def rows(connection: Connection, kind: type[Row], query: str, values: Values = ()) -> list[Row]:
    """What a query selects. Its columns are the fields of `kind`, in any order."""
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(query.encode(), values).fetchall()


def row(connection: Connection, kind: type[Row], query: str, values: Values = ()) -> Row | None:
    """The first row that a query selects, or None where there is none."""
    return next(iter(rows(connection, kind, query, values)), None)
