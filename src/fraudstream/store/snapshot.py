"""Profiles at one point in time, read by one COPY per entity: all of them, or those that a batch needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from psycopg import sql

from fraudstream.features.catalogue import COLUMNS
from fraudstream.schema import arrow_types
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import Connection, connected
from fraudstream.store.copy import read_rows

if TYPE_CHECKING:
    import pyarrow as pa


Wanted = Mapping[str, Sequence[str]]
"""Columns of `shop.profiles` by entity, as returned by `features.definitions.profile_columns`."""

_ALL: Final = sql.SQL("select {} from shop.profiles where entity = %(entity)s")
_ASKED: Final = sql.SQL(
    "select {} from unnest(%(keys)s::text[]) as asked (name)"
    " join shop.profiles on entity = %(entity)s and key = asked.name"
)
"""By the primary key, however many others there are."""

_BEGIN: Final = "set transaction isolation level repeatable read, read only; set local lock_timeout = '3s'"
"""A consistent snapshot, without a long wait for a lock: the scorer can use older profiles meanwhile, and has other work."""


_FOLDED: Final = (
    "select distinct on (topic, partition) topic, partition, next_offset from shop.stream_offsets"
    " where target = 'profiles' order by topic, partition, updated_at desc"
)
"""Of several topics of the same name, the one that was read last."""

Folded = dict[str, dict[int, int]]
"""By topic and partition, the offset below which every message is folded."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Profiles at one point in time, and the offsets up to which they are folded."""

    profiles: "dict[str, pa.Table]"
    """`key` and the wanted columns, by entity."""
    folded: Folded


def profiles(
    postgres: PostgresSettings, wanted: Wanted, heard: Callable[[], None] = lambda: None
) -> Snapshot:
    """Every profile; `heard` is called as they arrive, which may take minutes. Raises DatabaseUnreachable, DatabaseError."""
    with connected(postgres, autocommit=True) as connection:
        return _read(connection, wanted, _ALL, {}, heard)


def profiles_of(connection: Connection, keys: Mapping[str, Sequence[str]], wanted: Wanted) -> Snapshot:
    """The profiles of these keys, which must be distinct; a key without a profile is left out.

    `connection` is in autocommit. Raises psycopg's errors.
    """
    return _read(connection, wanted, _ASKED, keys)


def _read(
    connection: Connection,
    wanted: Wanted,
    query: sql.SQL,
    keys: Mapping[str, Sequence[str]],
    heard: Callable[[], None] = lambda: None,
) -> Snapshot:
    found, folded = {}, Folded()
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_BEGIN)
        for entity, columns in wanted.items():
            schema = _columns(columns)
            chosen = query.format(sql.SQL(", ").join(map(sql.Identifier, schema.names)))
            asked = {"entity": entity, "keys": list(keys.get(entity, ()))}
            found[entity] = read_rows(cursor, chosen, schema, asked, heard)
            heard()
        for topic, partition, offset in cursor.execute(_FOLDED):
            folded.setdefault(topic, {})[partition] = offset
    return Snapshot(found, folded)


def _columns(columns: Sequence[str]) -> "pa.Schema":
    """The Arrow schema of `key` and these columns of `shop.profiles`."""
    import pyarrow as pa

    return pa.schema([pa.field(name, arrow_types()[COLUMNS[name]]) for name in ("key", *columns)])
