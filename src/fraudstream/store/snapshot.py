"""The profiles of a moment, read by one COPY for each entity: what the live scorer remembers of everybody."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from psycopg import sql

from fraudstream.features.catalogue import COLUMNS
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connect, translated
from fraudstream.store.copy import read_rows

if TYPE_CHECKING:
    import pyarrow as pa


def profiles(postgres: PostgresSettings, wanted: Mapping[str, Sequence[str]]) -> "dict[str, pa.Table]":
    """`key` and the wanted columns of every profile, by entity, all as of one moment.

    `wanted` names columns of `shop.profiles` by entity, as `features.definitions.profile_columns` gives them.
    Raises DatabaseUnreachable, DatabaseError.
    """
    found = {}
    with translated(postgres), connect(postgres) as connection, connection.cursor() as cursor:
        cursor.execute("set transaction isolation level repeatable read, read only")
        for entity, columns in wanted.items():
            schema = columns_of(columns)
            query = sql.SQL("select {} from shop.profiles where entity = %(entity)s").format(
                sql.SQL(", ").join(map(sql.Identifier, schema.names))
            )
            found[entity] = read_rows(cursor, query, schema, {"entity": entity})
    return found


def columns_of(columns: Sequence[str]) -> "pa.Schema":
    """`key` and these columns of `shop.profiles`, as Arrow has them."""
    import pyarrow as pa

    types = {"text": pa.string(), "instant": pa.timestamp("us", "UTC"), "float": pa.float64()}
    return pa.schema([pa.field(name, types[COLUMNS[name]]) for name in ("key", *columns)])
