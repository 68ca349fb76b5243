"""A customer's transactions around a time, found by time and customer among millions of rows."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from fraudstream.schema import FIRST_INSTANT, LAST_INSTANT
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import Connection, connected
from fraudstream.store.labels import LATEST_LABEL
from fraudstream.store.rows import row, rows


@dataclass(frozen=True, slots=True)
class Past:
    """One of a customer's transactions, with its decision and verdict as known now."""

    transaction_id: str
    user_id: str
    timestamp: datetime
    amount: float
    currency: str | None
    device: str
    location: str
    transaction_location: str
    merchant_id: str | None
    risk: float | None
    """Null if it was not scored."""
    flagged: bool
    verdict: bool | None
    """The latest label."""


def history(
    postgres: PostgresSettings, user_id: str, around: datetime, *, before: int = 10, after: int = 5
) -> list[Past]:
    """A customer's last transactions up to `around` and the next ones after it, in order of time.

    At most `before` and `after` of them, at most 30 days back and 7 days ahead. Raises DatabaseError.
    """
    with connected(postgres) as connection:
        earlier = _nearest(connection, user_id, around, BACK, before)
        later = _nearest(connection, user_id, around, AHEAD, after)
    return [*reversed(earlier), *later]


@dataclass(frozen=True, slots=True)
class _Direction:
    span: str
    order: str
    sign: int
    days: tuple[float, ...]
    """A direction in time, and its spans in days: a wider one is used only if a narrower one found too little, as a busy
    customer's month is many rows."""


BACK = _Direction("timestamp > %(edge)s and timestamp <= %(around)s", "desc", -1, (1, 30))
AHEAD = _Direction("timestamp > %(around)s and timestamp <= %(edge)s", "asc", 1, (1, 7))

_FIELDS = "transaction_id, user_id, timestamp, amount, currency, device, location, transaction_location, merchant_id"
"""The columns, by name: readers may not see names and e-mail addresses, which `*` would select."""

_PAST = f"""
select p.*, s.risk, coalesce(s.flagged, false) as flagged, l.is_fraud as verdict
from ({{transactions}}) as p
left join shop.scores as s using (transaction_id)
left join {LATEST_LABEL.format(row="p")} as l on true"""  # noqa: S608 - constants of ours


def _past(condition: str, order: str = "") -> str:
    """A query of both tables' transactions that meet a condition; `order` and its limit apply to each table."""
    parts = (
        f"(select {_FIELDS} from shop.{table} where {condition} {order})"  # noqa: S608 - constants of this module
        for table in ("transactions", "fraud_transactions")
    )
    return _PAST.format(transactions=" union all ".join(parts))


def transaction(postgres: PostgresSettings, transaction_id: str) -> Past | None:
    """A stored transaction with its decision and verdict, or None. Raises DatabaseError."""
    with connected(postgres) as connection:
        return row(connection, Past, _past("transaction_id = %s"), (transaction_id, transaction_id))


def _nearest(
    connection: Connection, user_id: str, around: datetime, where: _Direction, limit: int
) -> list[Past]:
    """The customer's transactions nearest to `around` in one direction, the nearest first."""
    query = _past(
        f"user_id = %(user_id)s and {where.span}", f"order by timestamp {where.order} limit %(limit)s"
    )
    query += f" order by timestamp {where.order}, transaction_id {where.order}"
    values = {"user_id": user_id, "around": around, "limit": limit}
    found: list[Past] = []
    for days in where.days:
        values["edge"] = _moved(around, where.sign * timedelta(days=days))
        # An id that came both as fraud and as legitimate is in both tables.
        by_id = {past.transaction_id: past for past in rows(connection, Past, query, values)}
        found = list(by_id.values())[:limit]
        if len(found) == limit:
            break
    return found


def _moved(instant: datetime, by: timedelta) -> datetime:
    """A later or earlier time, limited to the years that datetime supports."""
    try:
        return instant + by
    except OverflowError:
        return LAST_INSTANT if by > timedelta() else FIRST_INSTANT
