"""Profiles that are asked for batch by batch, for clusters whose profiles outgrow a broadcast.

A broadcast holds every profile in every executor and is sent again with each hand-over. Here a worker asks PostgreSQL
for the profiles of its batch's own customers, devices and merchants, and for no others: memory follows the batch, and profiles
are as fresh as the batch. It takes Python, which real-time mode does not allow.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from fraudstream.errors import DatabaseUnreachable
from fraudstream.features.catalogue import ENTITIES
from fraudstream.features.serving import column_name
from fraudstream.settings import PostgresSettings
from fraudstream.store import connection, held, lookup, snapshot

if TYPE_CHECKING:
    import pyarrow as pa

RETRY_SECONDS: Final = 1.0
"""Until PostgreSQL is asked again where it did not answer."""


@dataclass(frozen=True)
class Lookup:
    """Where profiles are asked for, and which of their columns."""

    postgres: PostgresSettings
    """Pickled into each task: no secret passes through Spark's settings."""
    reads: Mapping[str, tuple[str, ...]]
    """Columns of `shop.profiles` by entity."""

    def add(self, rows: DataFrame) -> DataFrame:
        """`rows` with the columns ENTITY__COLUMN of their profiles, null where there is none.

        A task waits `postgres.retry_seconds` for a PostgreSQL that does not answer, then raises DatabaseUnreachable.
        """
        import pyarrow as pa

        if not self.reads:  # the model looks at the transaction alone
            return rows
        added = pa.schema(
            [
                field.with_name(column_name(entity, field.name))
                for entity, columns in self.reads.items()
                for field in snapshot.columns_of(columns)
                if field.name != "key"
            ]
        )
        whole = StructType([*rows.schema, *from_arrow_schema(added)])
        return rows.mapInArrow(partial(_joined, self), whole)


def _joined(asked: Lookup, batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    for batch in batches:
        yield from beside(asked, pa.Table.from_batches([batch])).to_batches()


def beside(asked: Lookup, rows: "pa.Table") -> "pa.Table":
    """`rows`, which have the fields that name entities, with the columns of their profiles."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from fraudstream.features.profiles import Events

    events = Events(rows)
    keys = {entity: events.keys(*ENTITIES[entity].fields) for entity in asked.reads}
    texts = {entity: found.text() for entity, found in keys.items()}
    stored = _patiently(asked, {entity: text.to_pylist() for entity, text in texts.items()})
    for entity, profiles in stored.items():
        code = keys[entity].code
        place = pc.index_in(texts[entity], value_set=profiles["key"].combine_chunks())
        places = place.take(pa.array(code, mask=code < 0))
        for name in asked.reads[entity]:
            rows = rows.append_column(column_name(entity, name), profiles[name].combine_chunks().take(places))
    return rows


def _patiently(asked: Lookup, keys: Mapping[str, list[str]]) -> "dict[str, pa.Table]":
    """The profiles of these keys, as soon as PostgreSQL answers. Raises DatabaseUnreachable, DatabaseError."""
    deadline = time.monotonic() + asked.postgres.retry_seconds
    while True:
        try:
            with connection.translated(asked.postgres), held.connection(asked.postgres).cursor() as cursor:
                return lookup.profiles(cursor, keys, asked.reads)
        except DatabaseUnreachable:
            held.close(asked.postgres)
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_SECONDS)
