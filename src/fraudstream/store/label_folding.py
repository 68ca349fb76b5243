"""Labels and truths, folded into the profiles when they become known and not before.

They come from two places: the truth that came with the message, which counts as known `label_delay`
after the transaction, and `shop.labels`, where people write, known at `labelled_at`. A label
overrides the truth, whenever the delay ends; of several labels the latest counts.

At any time the label counters contain, for each stored row: its latest folded label, else its truth if its
timestamp is not above the watermark, else nothing. This reveals what was folded before, so that a
correction removes exactly that.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from psycopg import sql

from fraudstream.features.catalogue import horizon
from fraudstream.features.profiles import correct_labels, fold_labels
from fraudstream.schema import arrow_schema
from fraudstream.settings import PostgresSettings
from fraudstream.store import failures
from fraudstream.store.connection import Connection, Cursor, connected
from fraudstream.store.copy import read_rows
from fraudstream.store.profiles import FOLDED, LOCK_WATERMARK, merge, truth_watermark
from fraudstream.store.rows import one

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 200_000
"""Rows per transaction. Slices that store rows wait for its end: about a second for each chunk of history."""

_WAIT = "set local lock_timeout = '10s'"
"""So that a lock held by another session does not delay a stream's shutdown; concurrent slices take less time to merge."""

_ROWS = sql.SQL("(select * from shop.transactions union all select * from shop.fraud_transactions) as t")
_FOLDABLE = sql.SQL(
    "select l.label_id from shop.labels as l where l.folded_at is null and l.labelled_at <= %(now)s"
    " and exists (select from {} where t.transaction_id = l.transaction_id and t.timestamp <= %(horizon)s)"
).format(_ROWS)
_COLUMNS = sql.SQL(", ").join(sql.Identifier("t", name) for name in FOLDED)


@dataclass(frozen=True, slots=True)
class Known:
    """Numbers of truths and labels that were folded."""

    truths: int = 0
    """Transactions whose own truth counts from now on."""
    labels: int = 0
    """Labels that count from now on, or are already superseded by a later one."""


def fold_known(
    postgres: PostgresSettings,
    now: datetime,
    label_delay: timedelta,
    go_on: Callable[[], bool] = lambda: True,
) -> Known:
    """Fold every label that is known at `now` and was not folded yet, each exactly once.

    Labels of transactions that are not stored (yet) wait, and so do those of transactions too far in the
    future to fold. Each chunk is a transaction of its own: an interrupted call resumes at the next one, and
    `go_on` is checked between chunks (ten million truths take minutes, and the command may be stopped).
    Raises DatabaseUnreachable, also if another session holds a lock for long or somebody cancels a statement, DatabaseError.
    """
    truths = labels = 0
    with (
        connected(postgres, autocommit=True) as connection,
        failures.curable_cancel(postgres, connection),
    ):
        going_on = True
        while going_on and go_on():
            with _chunk(connection) as cursor:
                count, going_on = _fold_truths(cursor, now - label_delay)
                truths += count
        going_on = True
        while going_on and go_on():
            with _chunk(connection) as cursor:
                count = _fold_labels(cursor, now)
                labels += count
                going_on = count == CHUNK
    return Known(truths, labels)


@contextmanager
def _chunk(connection: Connection) -> Iterator[Cursor]:
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_WAIT)
        yield cursor


def _fold_truths(cursor: Cursor, until: datetime) -> tuple[int, bool]:
    """Move the watermark to `until`, or past the next CHUNK rows; returns how many truths count now and if there are more.

    A row with a folded label is skipped, as labels override truths.
    """
    cursor.execute(LOCK_WATERMARK.format("exclusive"))
    span = {"reached": truth_watermark(cursor), "until": until, "chunk": CHUNK}
    count, newest = one(
        cursor,
        sql.SQL(
            "select count(*), max(timestamp)::text from (select timestamp from {}"
            " where timestamp > %(reached)s and timestamp <= %(until)s order by timestamp limit %(chunk)s) as next"
        ).format(_ROWS),
        span,
    )
    going_on = count == CHUNK
    span["until"] = newest if going_on else until
    truths = read_rows(
        cursor,
        sql.SQL(
            "select {}, t.is_fraud from {} where t.timestamp > %(reached)s and t.timestamp <= %(until)s"
            " and t.is_fraud is not null and not exists"
            " (select from shop.labels as l where l.transaction_id = t.transaction_id and l.folded_at is not null)"
        ).format(_COLUMNS, _ROWS),
        _schema("is_fraud"),
        span,
    )
    merge(cursor, fold_labels(truths))
    cursor.execute(
        "insert into shop.watermarks as w (name, reached) values ('truth', %(until)s)"
        " on conflict (name) do update set reached = excluded.reached where w.reached < excluded.reached",
        span,
    )
    return truths.num_rows, going_on


def _fold_labels(cursor: Cursor, now: datetime) -> int:
    """Fold up to CHUNK labels; returns how many.

    Slices wait for its lock, so it asks first whether any label can be folded. Labels of transactions that never arrive
    are looked up each time: 200,000 of them in 0.8 s, and in 5 s by the update.
    """
    known = {"now": now, "horizon": horizon(now), "chunk": CHUNK}
    cursor.execute(sql.SQL("select exists ({})").format(_FOLDABLE), known)
    if cursor.fetchone() == (False,):
        return 0
    cursor.execute(LOCK_WATERMARK.format("exclusive"))
    cursor.execute(
        sql.SQL(
            "update shop.labels set folded_at = now() where label_id in ({} limit %(chunk)s) returning label_id"
        ).format(_FOLDABLE),
        known,
    )
    folded = [label_id for (label_id,) in cursor.fetchall()]
    if not folded:
        return 0
    rows = read_rows(
        cursor,
        sql.SQL(
            "select {}, ({}) as after, coalesce(({}), case when t.timestamp <= %(reached)s then t.is_fraud end)"
            " as before from {} where t.transaction_id in"
            " (select transaction_id from shop.labels where label_id = any(%(folded)s))"
        ).format(_COLUMNS, _latest(sql.SQL("true")), _latest(sql.SQL("label_id <> all(%(folded)s)")), _ROWS),
        _schema("after", "before"),
        {"reached": truth_watermark(cursor), "folded": folded},
    )
    merge(cursor, _difference(rows))
    return len(folded)


def _latest(which: sql.Composable) -> sql.Composable:
    """The latest folded label of row `t`."""
    return sql.SQL(
        "select is_fraud from shop.labels where transaction_id = t.transaction_id and folded_at is not null and {}"
        " order by labelled_at desc, label_id desc limit 1"
    ).format(which)


def _difference(rows: "pa.Table") -> "pa.Table":
    """The change of the profiles when the folded label of `rows` changes from `before` (null: none) to `after`."""
    import pyarrow.compute as pc

    same = pc.fill_null(pc.equal(rows["before"], rows["after"]), False)
    changed = rows.filter(pc.invert(same))
    return correct_labels(
        changed.select([*FOLDED, "before"]).rename_columns([*FOLDED, "is_fraud"]),
        changed.select([*FOLDED, "after"]).rename_columns([*FOLDED, "is_fraud"]),
    )


def _schema(*labels: str) -> "pa.Schema":
    import pyarrow as pa

    fields = [arrow_schema().field(name) for name in FOLDED]
    return pa.schema([*fields, *(pa.field(name, pa.bool_()) for name in labels)])
