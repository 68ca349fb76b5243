"""A model's live performance: whether its risks are still distributed as in training, and how precise its alerts are."""

from dataclasses import dataclass
from datetime import datetime

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connected
from fraudstream.store.drift import Drift
from fraudstream.store.review import LEGITIMATE_KNOWN, NEWEST_REVIEWED, REMEMBERED, SAID
from fraudstream.store.rows import one, rows

DAYS = 30
"""How far back drift and the quality of alerts are followed."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Decisions of the last days in one bin of the model's score reference."""

    bin: int
    count: int


@dataclass(frozen=True, slots=True)
class Quality:
    """A day's alerts by verdict."""

    day: datetime
    alerts: int
    confirmed: int
    dismissed: int
    known_fraud: int
    """Known from the verdict, else from the message."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Reviewed alerts in one tenth of the range of risk."""

    risk: float
    """Their mean."""
    reviewed: int
    fraud: int


@dataclass(frozen=True, slots=True)
class AtWork:
    """What decisions and labels show about one model."""

    drift: list[Drift]
    newest: datetime | None
    """The last hour with decisions, and the end of the week of `bins`; a retired model's may be long ago."""
    bins: list[Bin]
    quality: list[Quality]
    legitimate_known: bool
    """As in `review.Verdicts`, for the days of `quality` and a month after them."""
    reviewed: list[Reviewed]


_DRIFT = """
select day, scores, psi, psi_by_chance from shop.score_drift
where model_version = %(version)s order by day desc limit %(days)s"""

_LAST = "select max(hour) from shop.risk_bins where model_version = %(version)s"

_BINS = f"""
select bin, sum(count)::bigint as count from shop.risk_bins
where model_version = %(version)s and hour >= ({_LAST}) - interval '7 days' group by 1 order by 1"""  # noqa: S608 - constants

_NEWEST = "(select max(scored_at) from shop.alerts where model_version = %(version)s)"
_SINCE = f"date_trunc('day', {_NEWEST}) - make_interval(days => %(days)s - 1)"
"""The first of DAYS: a whole one, as it is drawn as one."""

_QUALITY = f"""
with flagged as materialized (
  select transaction_id, date_trunc('day', scored_at) as day from shop.alerts
  where model_version = %(version)s and scored_at >= {_SINCE}
), {SAID}
select day, count(*) as alerts, count(*) filter (where said.is_fraud) as confirmed,
  count(*) filter (where not said.is_fraud) as dismissed,
  -- Asked, not joined: in tables by month an id may have several rows.
  count(*) filter (where coalesce(said.is_fraud, exists (
    select from shop.fraud_transactions as f where f.transaction_id = flagged.transaction_id
  ))) as known_fraud
from flagged left join said using (transaction_id)
group by 1 order by 1"""  # noqa: S608 - a constant

_LEGITIMATE = "select " + LEGITIMATE_KNOWN.format(since=_SINCE, until=f"{_NEWEST} + interval '30 days'")

_REVIEWED = f"""
select avg(risk) as risk, count(*) as reviewed, count(*) filter (where is_fraud) as fraud
from {NEWEST_REVIEWED.format(which="a.model_version = %(version)s")} as r
group by least(floor(risk * 10), 9) order by 1"""  # noqa: S608 - a constant


def at_work(postgres: PostgresSettings, version: str) -> AtWork:
    """The last DAYS of one model; empty lists if it has decided nothing. Raises DatabaseError."""
    values = {"version": version, "days": DAYS, "remembered": REMEMBERED}
    with connected(postgres, snapshot=True) as connection:
        return AtWork(
            rows(connection, Drift, _DRIFT, values)[::-1],
            one(connection, _LAST, values)[0],
            rows(connection, Bin, _BINS, values),
            rows(connection, Quality, _QUALITY, values),
            one(connection, _LEGITIMATE, values)[0],
            rows(connection, Reviewed, _REVIEWED, values),
        )
