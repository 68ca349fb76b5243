"""The review queue of alerts, and what past verdicts say about the next one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connected
from fraudstream.store.labels import LATEST_LABEL
from fraudstream.store.rows import only, rows

State = Literal["waiting", "reviewed", "all"]
Order = Literal["newest", "risk", "amount"]

REMEMBERED = 5_000
"""Number of newest reviewed alerts used to say how similar alerts turned out: more cost time and change no digit."""
NEAR = 0.05
"""Difference in risk up to which alerts count as similar."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters and order of the queue."""

    state: State = "waiting"
    order: Order = "newest"
    since: datetime | None = None
    """Start of the period, by the time of the decision."""
    min_amount: float = 0.0
    min_risk: float = 0.0
    text: str = ""
    """The full id of a transaction or a customer."""


@dataclass(frozen=True, slots=True)
class Queued:
    """An alert as a line of the queue."""

    transaction_id: str
    user_id: str
    timestamp: datetime
    amount: float
    currency: str | None
    risk: float
    scored_at: datetime
    reason: str | None
    """The strongest reason, as a sentence."""
    verdict: bool | None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """How reviewed alerts turned out."""

    confirmed: int
    dismissed: int
    legitimate_known: bool
    """Whether any transaction, flagged or not, was labelled legitimate in the period."""

    @property
    def reviewed(self) -> int:
        """How many alerts have a verdict."""
        return self.confirmed + self.dismissed

    @property
    def precision(self) -> float | None:
        """Share of fraud among them; None if there are none, or if only frauds are labelled.

        Chargebacks never show that an alert was false: with them alone every model is always right. A day without a
        false alert is 100 % only if something was labelled legitimate.
        """
        if not (self.dismissed or self.legitimate_known):
            return None
        return self.confirmed / self.reviewed if self.reviewed else None


@dataclass(frozen=True, slots=True)
class Tally(Verdicts):
    """The progress of the review."""

    waiting: int
    waiting_amount: float


ONLY_FRAUDS = "Only frauds are labelled, so nothing says how many alerts were false."
"""Why there is no precision although alerts were confirmed."""


LEGITIMATE_KNOWN = """exists (
  select from shop.labels as l where not l.is_fraud and l.labelled_at >= {since} and l.labelled_at < {until}
  and not exists (
    select from shop.labels as o where o.transaction_id = l.transaction_id and o.is_fraud
    and (o.labelled_at, o.label_id) > (l.labelled_at, l.label_id)
  )
)"""
"""Whether the latest label of any transaction, flagged or not, is `legitimate` and from between these times."""


_ORDERS: dict[Order, str] = {
    "newest": "a.scored_at desc, a.transaction_id desc",
    "risk": "a.risk desc, a.scored_at desc, a.transaction_id desc",
    "amount": "a.amount desc, a.scored_at desc, a.transaction_id desc",
}
_LABELLED = "exists (select from shop.labels where transaction_id = a.transaction_id)"
_STATES: dict[State, str] = {"waiting": f"not {_LABELLED}", "reviewed": _LABELLED, "all": "true"}
# The first rows are chosen in the order of an index. Verdicts, and reasons, kilobytes each, are read for those only.
_QUEUE = f"""
with chosen as materialized (
  select a.transaction_id from shop.alerts as a where {{conditions}} order by {{order}} limit %(limit)s
)
select a.transaction_id, a.user_id, a.timestamp, a.amount, a.currency, a.risk, a.scored_at,
  a.reasons -> 0 ->> 'sentence' as reason, l.is_fraud as verdict
from chosen join shop.alerts as a using (transaction_id) left join {LATEST_LABEL.format(row="a")} as l on true
order by {{order}}"""  # noqa: S608 - constants of ours

SAID = """said as (
  select distinct on (transaction_id) transaction_id, is_fraud
  from flagged join shop.labels using (transaction_id) order by transaction_id, labelled_at desc, label_id desc
)"""
"""The verdicts of the alerts in `flagged`, by one join: a lookup for each would take a second."""

_SINCE = "(%(since)s::timestamptz is null or scored_at >= %(since)s)"
_TALLY = f"""
with flagged as (select transaction_id from shop.alerts where {_SINCE}), {SAID}, unsaid as (
  select count(*) as waiting, coalesce(sum(least(amount, 1e12)), 0) as waiting_amount
  from shop.alerts as a where {_SINCE} and not {_LABELLED}
)
select waiting, waiting_amount,
  count(*) filter (where is_fraud) as confirmed, count(*) filter (where not is_fraud) as dismissed,
  {LEGITIMATE_KNOWN.format(since="coalesce(%(since)s::timestamptz, '-infinity')", until="'infinity'")} as legitimate_known
from unsaid left join said on true group by waiting, waiting_amount"""  # noqa: S608 - constants of this module

NEWEST_REVIEWED = f"""(
  select n.transaction_id, n.risk, l.is_fraud from (
    select transaction_id, risk from shop.alerts as a
    where {{which}} and {_LABELLED}
    order by scored_at desc limit %(remembered)s
  ) as n cross join {LATEST_LABEL.format(row="n")} as l
)"""  # noqa: S608 - constants of ours
"""The newest alerts that meet `which` and have a verdict, each with its latest.

The newest alerts rather than the newest labels: a file of chargebacks adds thousands of labels for payments without an
alert, which would push out every verdict.
"""

_OF_THE_BAND = """a.model_version = %(version)s and a.transaction_id <> %(itself)s
      and a.risk between %(risk)s - %(near)s and %(risk)s + %(near)s"""
_ALIKE = f"""
select count(*) filter (where is_fraud) as confirmed, count(*) filter (where not is_fraud) as dismissed,
  {LEGITIMATE_KNOWN.format(since="'-infinity'", until="'infinity'")} as legitimate_known
from {NEWEST_REVIEWED.format(which=_OF_THE_BAND)} as r"""  # noqa: S608 - constants of this module


def queue(postgres: PostgresSettings, wanted: Wanted, limit: int = 100) -> list[Queued]:
    """At most `limit` alerts. Raises DatabaseError."""
    conditions = [
        (True, _STATES[wanted.state]),
        (wanted.since is not None, "a.scored_at >= %(since)s"),
        (wanted.min_amount > 0, "a.amount >= %(min_amount)s"),
        (wanted.min_risk > 0, "a.risk >= %(min_risk)s"),
        (bool(wanted.text), "(a.transaction_id = %(text)s or a.user_id = %(text)s)"),
    ]
    query = _QUEUE.format(
        order=_ORDERS[wanted.order],
        conditions=" and ".join(condition for is_wanted, condition in conditions if is_wanted),
    )
    values = {
        "since": wanted.since, "min_amount": wanted.min_amount, "min_risk": wanted.min_risk,
        "text": wanted.text, "limit": limit,
    }  # fmt: skip
    with connected(postgres) as connection:
        return rows(connection, Queued, query, values)


def tally(postgres: PostgresSettings, since: datetime | None = None) -> Tally:
    """How many alerts scored since then wait, and how many were reviewed. Raises DatabaseError."""
    with connected(postgres) as connection:
        return only(connection, Tally, _TALLY, {"since": since})


def alike(postgres: PostgresSettings, transaction_id: str, model_version: str, risk: float) -> Verdicts:
    """How the newest other reviewed alerts of this model with about this risk turned out. Raises DatabaseError."""
    values = {
        "version": model_version, "risk": risk, "near": NEAR, "itself": transaction_id, "remembered": REMEMBERED,
    }  # fmt: skip
    with connected(postgres) as connection:
        return only(connection, Verdicts, _ALIKE, values)
