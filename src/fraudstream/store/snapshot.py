"""Profiles as of one moment, read by one COPY for each entity: of everybody, or of those that a batch has to know."""

from collections.abc import Mapping, Sequence
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
"""Columns of `shop.profiles` by entity, as `features.definitions.profile_columns` gives them."""

_ALL: Final = sql.SQL("select {} from shop.profiles where entity = %(entity)s")
_ASKED: Final = sql.SQL(
    "select {} from unnest(%(keys)s::text[]) as asked (name)"
    " join shop.profiles on entity = %(entity)s and key = asked.name"
)
"""By the primary key, however many others there are."""

_BEGIN: Final = "set transaction isolation level repeatable read, read only; set local lock_timeout = '3s'"
"""One moment, and no long wait for whoever holds a lock on the table: the scorer has older profiles, and more to write down."""


_FOLDED: Final = (
    "select distinct on (topic, partition) topic, partition, next_offset from shop.stream_offsets"
    " where target = 'profiles' order by topic, partition, updated_at desc"
)
"""Of topics of one name the one that was read last."""

Folded = dict[str, dict[int, int]]
"""By topic and partition the offset below which every message is folded."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Profiles of one moment, and what they hold."""

    profiles: "dict[str, pa.Table]"
    """`key` and the wanted columns, by entity."""
    folded: Folded


def profiles(postgres: PostgresSettings, wanted: Wanted) -> Snapshot:
    """Every profile. Raises DatabaseUnreachable, DatabaseError."""
    with connected(postgres, autocommit=True) as connection:
        return _read(connection, wanted, _ALL, {})


def profiles_of(connection: Connection, keys: Mapping[str, Sequence[str]], wanted: Wanted) -> Snapshot:
    """The profiles of these keys, none of which stands twice; a key without a profile is left out.

    `connection` is in autocommit. Raises what PostgreSQL says.
    """
    return _read(connection, wanted, _ASKED, keys)


def _read(
    connection: Connection, wanted: Wanted, query: sql.SQL, keys: Mapping[str, Sequence[str]]
) -> Snapshot:
    found, folded = {}, Folded()
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_BEGIN)
        for entity, columns in wanted.items():
            schema = _columns(columns)
            chosen = query.format(sql.SQL(", ").join(map(sql.Identifier, schema.names)))
            asked = {"entity": entity, "keys": list(keys.get(entity, ()))}
            found[entity] = read_rows(cursor, chosen, schema, asked)
        for topic, partition, offset in cursor.execute(_FOLDED):
            folded.setdefault(topic, {})[partition] = offset
    return Snapshot(found, folded)


def _columns(columns: Sequence[str]) -> "pa.Schema":
    """`key` and these columns of `shop.profiles`, as Arrow has them."""
    import pyarrow as pa

    return pa.schema([pa.field(name, arrow_types()[COLUMNS[name]]) for name in ("key", *columns)])
