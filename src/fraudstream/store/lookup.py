"""The profiles of some keys, each by the primary key: what a batch of transactions has to know, however many others there are."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from psycopg import sql

from fraudstream.store.copy import read_rows
from fraudstream.store.snapshot import columns_of

if TYPE_CHECKING:
    import pyarrow as pa

    from fraudstream.store.intake import Cursor

Wanted = Mapping[str, Sequence[str]]
"""Columns of `shop.profiles` by entity."""


def profiles(cursor: "Cursor", keys: Mapping[str, Sequence[str]], wanted: Wanted) -> "dict[str, pa.Table]":
    """`key` and the wanted columns of these keys' profiles, by entity, all as of one moment; a key without one is left out.

    No key may stand twice. `cursor` is in autocommit. Raises what PostgreSQL says.
    """
    found = {}
    with cursor.connection.transaction():
        cursor.execute("set transaction isolation level repeatable read, read only")
        for entity, columns in wanted.items():
            schema = columns_of(columns)
            query = sql.SQL(
                "select {} from unnest(%(keys)s::text[]) as asked (name)"
                " join shop.profiles on entity = %(entity)s and key = asked.name"
            ).format(sql.SQL(", ").join(map(sql.Identifier, schema.names)))
            found[entity] = read_rows(cursor, query, schema, {"entity": entity, "keys": list(keys[entity])})
    return found
