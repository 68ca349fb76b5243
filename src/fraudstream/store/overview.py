"""The overview: transactions, fraud, alerts awaiting review. Reads the hourly rollup, never the transactions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import Connection, connected
from fraudstream.store.hourly import Kind
from fraudstream.store.review import SAID
from fraudstream.store.rows import one, only, rows

Step = Literal["hour", "day"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Kinds in `shop.hourly`; `transactions` are those whose message does not say that they are fraud."""


@dataclass(frozen=True, slots=True)
class Total:
    """Rows and money of one kind."""

    count: int = 0
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows and money of one kind in one hour or day of the transactions' own time."""

    kind: str
    time: datetime
    count: int
    amount: float


@dataclass(frozen=True, slots=True)
class Stakes:
    """The alerts of a period by verdict."""

    waiting: int
    """Total of the alerts that nobody has reviewed."""
    waiting_amount: float
    confirmed: int
    dismissed: int
    scored_fraud_amount: float
    """Of the newest FRAUDS transactions whose messages say that they are fraud, the scored ones: what never met a model
    was not missed."""
    caught_amount: float
    """Of these, the flagged ones."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Transactions, known fraud included, in as many complete hours each."""

    now: int
    before: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything between `since` and `until`."""

    since: datetime
    until: datetime
    complete: datetime
    """Up to here hours are complete; the stream stands in the one that follows."""
    totals: Mapping[str, Total]
    compared: Compared | None
    """The period up to `complete` and the preceding one of the same length; None if the stream had not begun by then."""
    buckets: list[Bucket]
    """From the start of the hour or day of `since`."""
    stakes: Stakes


_ENDS = """
select max(hour) filter (where hour <= now() + interval '1 hour'), date_trunc('hour', now()),
  min(hour) filter (where kind in ('transactions', 'fraud'))
from shop.hourly where kind = any(%s)"""
"""The hour at which the charts end, which is not one in the future that a single wrong clock could set to the year 9999; the
present hour; and the first one with transactions."""

_BUCKETS = """
select kind, date_trunc(%(step)s, hour) as time, sum(count)::bigint as count, sum(amount) as amount
from shop.hourly
where kind = any(%(kinds)s) and hour >= date_trunc(%(step)s, %(since)s::timestamptz) and hour < %(until)s
group by 1, 2 order by 2, 1"""

FRAUDS = 10_000
"""Number of newest frauds whose decisions are looked up: enough for the share on a page that refreshes itself."""

_STAKES = f"""
with flagged as materialized (
  select transaction_id, least(amount, 1e12) as amount from shop.alerts
  where timestamp >= %(since)s and timestamp < %(until)s
), {SAID}, fraud as (
  -- One index lookup per fraud: with a plain join PostgreSQL reads every decision.
  select least(amount, 1e12) as amount, s.flagged
  from (
    select transaction_id, amount from shop.fraud_transactions
    where timestamp >= %(since)s and timestamp < %(until)s order by timestamp desc limit {FRAUDS}
  ) as f
  cross join lateral (select flagged from shop.scores where transaction_id = f.transaction_id limit 1) as s
), met as (
  select coalesce(sum(amount), 0) as scored_fraud_amount,
    coalesce(sum(amount) filter (where flagged), 0) as caught_amount
  from fraud
)
select
  count(*) filter (where is_fraud is null) as waiting,
  coalesce(sum(amount) filter (where is_fraud is null), 0) as waiting_amount,
  count(*) filter (where is_fraud) as confirmed,
  count(*) filter (where not is_fraud) as dismissed,
  (select scored_fraud_amount from met), (select caught_amount from met)
from flagged left join said using (transaction_id)"""  # noqa: S608 - constants


def overview(postgres: PostgresSettings, length: timedelta, step: Step) -> Overview | None:
    """The newest `length` of the stream, in steps; None if nothing is stored yet. Raises DatabaseError.

    It ends with the newest non-empty hour, so that a replayed file of last year is shown, too.
    """
    with connected(postgres, snapshot=True) as connection:
        newest, present, first = one(connection, _ENDS, (list(KINDS),))
        if newest is None:
            return None
        until = newest + timedelta(hours=1)
        since, complete = until - length, min(newest, present)
        return Overview(
            since,
            until,
            complete,
            _totals(connection, since, until),
            _compared(connection, complete, length, first),
            rows(connection, Bucket, _BUCKETS, {"step": step, **_span(since, until)}),
            only(connection, Stakes, _STAKES, {"since": since, "until": until}),
        )


def _compared(
    connection: Connection, complete: datetime, length: timedelta, first: datetime | None
) -> Compared | None:
    """The last `length` of complete hours and the one before; None if the first transactions came later than that begins."""
    between = complete - length
    if first is None or first > between - length:
        return None
    return Compared(
        _transactions(_totals(connection, between, complete)),
        _transactions(_totals(connection, between - length, between)),
    )


def _transactions(totals: Mapping[str, Total]) -> int:
    return totals["transactions"].count + totals["fraud"].count


def _span(since: datetime, until: datetime) -> dict[str, object]:
    return {"kinds": list(KINDS), "since": since, "until": until}


def _totals(connection: Connection, since: datetime, until: datetime) -> dict[str, Total]:
    found = connection.execute(
        "select kind, sum(count)::bigint, sum(amount) from shop.hourly"
        " where kind = any(%(kinds)s) and hour >= %(since)s and hour < %(until)s group by 1",
        _span(since, until),
    ).fetchall()
    return {kind: Total() for kind in KINDS} | {kind: Total(count, amount) for kind, count, amount in found}
