"""Stored transactions as Arrow tables, for training and backtests."""

from datetime import datetime
from typing import TYPE_CHECKING

from psycopg import sql

from fraudstream.schema import LABELLED_AT, MESSAGE_AGREES, PERSONAL, arrow_schema, arrow_types
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connected
from fraudstream.store.copy import read_rows
from fraudstream.store.rows import one

if TYPE_CHECKING:
    import pyarrow as pa

_OF_LABELS = (LABELLED_AT, MESSAGE_AGREES)


def transactions_schema() -> "pa.Schema":
    """The columns of `transactions`: `schema.arrow_schema()` without personal ones, plus LABELLED_AT and MESSAGE_AGREES."""
    import pyarrow as pa

    public = [field for field in arrow_schema() if field.name not in PERSONAL]
    said = [pa.field(LABELLED_AT, arrow_types()["instant"]), pa.field(MESSAGE_AGREES, pa.bool_())]
    return pa.schema([*public, *said])


_ROWS = """
select {}, null::timestamptz as labelled_at, null::boolean as message_agrees from shop.{}
where timestamp >= coalesce(%(since)s, '-infinity'::timestamptz) and timestamp < coalesce(%(until)s, 'infinity'::timestamptz)
"""
_SAID = """
select distinct on (transaction_id) transaction_id, is_fraud, labelled_at, before is null as message_agrees
from (
  select transaction_id, is_fraud, labelled_at, label_id,
    lag(is_fraud) over (partition by transaction_id order by labelled_at, label_id) as before from shop.labels
) as l where is_fraud is distinct from before order by transaction_id, labelled_at desc, label_id desc
"""
"""The first label of the latest verdict: confirming it again does not make it known later."""


_STORED = """
select least(counted, case when planned >= 0 then planned end)::bigint
from (select coalesce(sum(count), 0) as counted from shop.hourly
    where kind in ('transactions', 'fraud') and hour >= coalesce(date_trunc('hour', %s::timestamptz), '-infinity')) as hours,
  (select case when min(reltuples) >= 0 then sum(reltuples) end as planned from pg_class
   where relkind = 'r' and relnamespace = 'shop'::regnamespace
   and (relname in ('transactions', 'fraud_transactions') or exists (
     select from pg_inherits where inhrelid = pg_class.oid
     and inhparent in ('shop.transactions'::regclass, 'shop.fraud_transactions'::regclass)))) as tables"""
"""Hourly sums keep what was forgotten since; a table that was never analysed is -1."""


def stored(postgres: PostgresSettings, since: datetime | None = None) -> int:
    """Approximate number of transactions since then: by the hourly sums, or fewer if the planner knows that many were deleted."""
    with connected(postgres) as connection:
        (count,) = one(connection, _STORED, (since,))
    return int(count)


def transactions(
    postgres: PostgresSettings, since: datetime | None = None, until: datetime | None = None
) -> "pa.Table":
    """Every transaction with since <= timestamp < until, in order of time, without personal columns.

    Transactions of the same time are in the order of their ids, which are independent of fraud: the two tables do not
    record which came first, and one table before the other would leak to the counters which is which.
    The latest label (`shop.labels`) replaces the truth that came with the message, and is known
    since the first label from which on all agree. An id
    that came both as fraud and as legitimate appears once, as fraud. Columns: `transactions_schema()`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    schema, bounds = transactions_schema(), {"since": since, "until": until}
    # Listed one by one: training does not need the right to read names and addresses.
    public = sql.SQL(", ").join(sql.Identifier(name) for name in schema.names if name not in _OF_LABELS)
    said_schema = pa.schema([schema.field(name) for name in ("transaction_id", "is_fraud", *_OF_LABELS)])
    with connected(postgres, snapshot=True) as connection, connection.cursor() as cursor:
        fraud, legitimate = (
            read_rows(cursor, sql.SQL(_ROWS).format(public, sql.Identifier(table)), schema, bounds)
            for table in ("fraud_transactions", "transactions")
        )
        said = read_rows(cursor, sql.SQL(_SAID), said_schema)
    ids = fraud["transaction_id"].combine_chunks()
    once = legitimate.filter(pc.invert(pc.is_in(legitimate["transaction_id"], value_set=ids)))
    order = [("timestamp", "ascending"), ("transaction_id", "ascending")]
    return _with_labels(pa.concat_tables([fraud, once]).sort_by(order), said)


def _with_labels(rows: "pa.Table", said: "pa.Table") -> "pa.Table":
    """`rows` with the labels of people instead of the truth that came with the message."""
    import pyarrow.compute as pc

    if not said.num_rows:
        return rows
    place = pc.index_in(rows["transaction_id"], value_set=said["transaction_id"].combine_chunks())
    found = {name: said[name].take(place) for name in ("is_fraud", *_OF_LABELS)}
    same = pc.fill_null(pc.equal(found["is_fraud"], rows["is_fraud"]), False)
    found[MESSAGE_AGREES] = pc.and_(found[MESSAGE_AGREES], same)
    for name, column in found.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), pc.coalesce(column, rows[name]))
    return rows
