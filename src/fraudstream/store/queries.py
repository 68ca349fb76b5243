"""What was stored, as Arrow tables: for training, and for everything that looks back."""

from datetime import datetime
from typing import TYPE_CHECKING

from psycopg import sql

from fraudstream.schema import FIELDS, PERSONAL, arrow_schema
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connect, translated
from fraudstream.store.copy import read_rows

if TYPE_CHECKING:
    import pyarrow as pa

LABELLED_AT = "labelled_at"
"""When somebody said what the row's `is_fraud` says; null where it came with the message itself."""


def transactions_schema() -> "pa.Schema":
    """The columns of `transactions`: those of `schema.arrow_schema()` but personal ones, and LABELLED_AT."""
    import pyarrow as pa

    public = [field for field in arrow_schema() if field.name not in PERSONAL]
    return pa.schema([*public, pa.field(LABELLED_AT, pa.timestamp("us", "UTC"))])


_PUBLIC = sql.SQL(", ").join(
    sql.Identifier("t", name) for name in FIELDS if name not in PERSONAL | {"is_fraud"}
)

_TRANSACTIONS = sql.SQL(
    """
with said as (
  select distinct on (transaction_id) transaction_id, is_fraud, labelled_at
  from shop.labels order by transaction_id, labelled_at desc, label_id desc
)
select {columns}, coalesce(said.is_fraud, t.is_fraud) as is_fraud, said.labelled_at
from (
  select * from shop.fraud_transactions
  union all
  select * from shop.transactions as o
  where not exists (select from shop.fraud_transactions as f where f.transaction_id = o.transaction_id)
) as t left join said using (transaction_id)
where t.timestamp >= coalesce(%(since)s, '-infinity'::timestamptz)
  and t.timestamp < coalesce(%(until)s, 'infinity'::timestamptz)
"""
)


def transactions(
    postgres: PostgresSettings, since: datetime | None = None, until: datetime | None = None
) -> "pa.Table":
    """Every transaction with since <= timestamp < until, in order of time, without personal columns.

    Of what people said (`shop.labels`) the latest replaces the truth that came with the message. An id
    that came both as fraud and as legitimate stands once, as fraud. Columns: `transactions_schema()`.
    """
    with translated(postgres), connect(postgres) as connection, connection.cursor() as cursor:
        # Rows of one instant stay in the order of arrival, which is that of a scan by a single process from the start.
        cursor.execute("set local max_parallel_workers_per_gather = 0")
        cursor.execute("set local synchronize_seqscans = off")
        query = _TRANSACTIONS.format(columns=_PUBLIC)
        found = read_rows(cursor, query, transactions_schema(), {"since": since, "until": until})
    return found.sort_by("timestamp")
