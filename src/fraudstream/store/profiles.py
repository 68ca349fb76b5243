"""Folds transactions and labels into `shop.profiles`, inside the transaction that stores them.

A slice collects what it will fold and merges once, at its end: the shared
rows are locked last and for the shortest time, and no transaction locks them twice, so there
are no deadlocks.

Label counters belong to the two tables, not to the target `profiles`: the truth of each stored row
counts once. `label_folding.fold_known` folds it when it becomes known and advances a watermark in
transaction time; a row that is stored below that watermark is folded here, at once.
"""

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from psycopg import sql

from fraudstream.features.catalogue import ENTITIES, horizon, merge_sql
from fraudstream.store.connection import Cursor
from fraudstream.store.copy import copy_rows
from fraudstream.store.rows import one

if TYPE_CHECKING:
    import pyarrow as pa


FOLDED = tuple(dict.fromkeys(["timestamp", "amount", *(f for e in ENTITIES.values() for f in e.fields)]))
"""The fields that a fold reads."""

LOCK_WATERMARK = "lock table shop.watermarks in {} mode"
"""`share` for slices, from reading the watermark to the commit, `exclusive` for moving it.

Not an advisory lock, which anybody who may log in can take: this one needs the right to write. Nor a lock on the row,
for which moving would wait behind every later reader of it.
"""


def merge(cursor: Cursor, folded: "pa.Table") -> None:
    """Merge rows of `features.profiles.SCHEMA` into the profiles."""
    if not folded.num_rows:
        return
    cursor.execute(
        "create temporary table if not exists new_profiles (like shop.profiles) on commit delete rows"
    )
    cursor.execute("truncate pg_temp.new_profiles")
    copy_rows(cursor, sql.Identifier("pg_temp", "new_profiles"), folded)
    cursor.execute(merge_sql().encode())


def truth_watermark(cursor: Cursor) -> str:
    """The time up to which the truth of every stored row is folded; a string, as it may be -infinity."""
    (reached,) = one(
        cursor,
        "select coalesce((select reached from shop.watermarks where name = 'truth'), '-infinity')::text",
    )
    return str(reached)


class Folding:
    """What one slice adds to the profiles: collected batch by batch, merged by `finish`."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._events: list[pa.Table] = []
        self._truths: list[pa.Table] = []
        self._repeated: set[str] = set()
        self._seen: set[str] = set()
        self.from_future = 0
        """Transactions left out because they are too far in the future."""

    def stored(self, rows: "pa.Table", new: "pa.Table") -> None:
        """Note that a table stored `new` of `rows`, and already had the others."""
        if new.num_rows < rows.num_rows:
            self._repeated.update(rows["transaction_id"].to_pylist())
            self._repeated.difference_update(new["transaction_id"].to_pylist())
        known = new.select([*FOLDED, "is_fraud"])
        if known["is_fraud"].null_count:
            known = known.filter(known["is_fraud"].is_valid())
        if known.num_rows:
            self._truths.append(known)

    def add(self, rows: "pa.Table") -> tuple[int, int]:
        """Collect `rows` to fold at the end; returns how many, and how many repeat an id and are left out.

        Repeats are recognised by the tables, if those store the same messages in this transaction, and
        always within the slice.
        """
        import pyarrow as pa

        fresh = []
        for place, name in enumerate(rows["transaction_id"].to_pylist()):
            if name not in self._seen and name not in self._repeated:
                self._seen.add(name)
                fresh.append(place)
        repeats = rows.num_rows - len(fresh)
        if repeats:
            rows = rows.take(pa.array(fresh, pa.int64()))
        in_time = rows.filter(
            pa.compute.field("timestamp") <= pa.scalar(self._horizon, rows["timestamp"].type)
        )
        self.from_future += rows.num_rows - in_time.num_rows
        self._events.append(in_time.select(list(FOLDED)))
        return in_time.num_rows, repeats

    @cached_property
    def _horizon(self) -> datetime:
        """The latest time to fold, by the database's clock, as those of executors may differ."""
        (now,) = one(self._cursor, "select now()")
        return horizon(now)

    def finish(self) -> None:
        """Merge what was collected; the last step before the offsets advance."""
        import pyarrow as pa

        from fraudstream.features import profiles

        parts = []
        if self._events:
            parts.append(profiles.fold(pa.concat_tables(self._events)))
        if self._truths:
            parts.append(profiles.fold_labels(self._known_already(pa.concat_tables(self._truths))))
        filled = [part for part in parts if part.num_rows]
        if filled:
            merge(self._cursor, filled[0] if len(filled) == 1 else profiles.combine(filled))

    def _known_already(self, truths: "pa.Table") -> "pa.Table":
        """Those up to the watermark, which does not move until this transaction ends."""
        import pyarrow as pa
        import pyarrow.compute as pc

        self._cursor.execute(LOCK_WATERMARK.format("share"))
        self._cursor.execute(
            "select reached from shop.watermarks where name = 'truth' and reached > '-infinity'"
        )
        row = self._cursor.fetchone()
        if row is None:
            return truths.slice(0, 0)
        return truths.filter(pc.field("timestamp") <= pa.scalar(row[0], truths["timestamp"].type))
