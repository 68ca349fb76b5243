"""A summary of a running stream: how much was decided, how fast, and how good the alerts have been so far."""

from dataclasses import dataclass
from datetime import datetime

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connected
from fraudstream.store.rows import one, only


@dataclass(frozen=True, slots=True)
class Glance:
    """What has been sent and decided since some time."""

    decisions: int
    alerts: int
    p50_ms: float | None
    """From the transaction's entry into Kafka to its decision; null before the first one."""
    p99_ms: float | None
    p99_lately_ms: float | None
    """The same for the last half minute: Spark compiles while the first decisions wait."""
    right: int
    """Alerts of transactions that are known to be fraud, from their message or a label."""
    wrong: int
    """Alerts of transactions that are known to be legitimate."""
    frauds: int
    """Decided transactions that are known to be fraud, from a label or else their message, flagged or not."""
    bursts_missed: int
    """Simulated frauds of the kind `velocity_burst` that were not flagged: in a stream that runs faster than real time,
    profiles are too old to show them."""


_GLANCE = """
with decided as materialized (
  select transaction_id, scored_at, flagged, extract(epoch from scored_at - sent_at) * 1000 as ms
  from shop.scores where scored_at >= %(since)s and sent_at >= %(since)s
), known as (
  select coalesce(verdict, truth) as fraud from shop.alert_reviews
  where scored_at >= %(since)s and sent_at >= %(since)s
), said as (
  select distinct on (transaction_id) transaction_id, is_fraud from decided join shop.labels using (transaction_id)
  order by transaction_id, labelled_at desc, label_id desc
)
select
  (select count(*) from decided) as decisions,
  (select count(*) from known) as alerts,
  (select percentile_cont(0.5) within group (order by ms) from decided) as p50_ms,
  (select percentile_cont(0.99) within group (order by ms) from decided) as p99_ms,
  (select percentile_cont(0.99) within group (order by ms) from decided
   where scored_at > (select max(scored_at) from decided) - interval '30 s') as p99_lately_ms,
  (select count(*) from known where fraud) as "right",
  (select count(*) from known where not fraud) as wrong,
  (select count(*) from decided left join said using (transaction_id) where coalesce(said.is_fraud, exists (
     select from shop.fraud_transactions as f where f.transaction_id = decided.transaction_id
   ))) as frauds,
  (select count(*) from decided join shop.fraud_transactions as f using (transaction_id)
   where not flagged and f.fraud_scenario = 'velocity_burst') as bursts_missed"""


def glance(postgres: PostgresSettings, since: datetime) -> Glance:
    """What was both sent and decided at `since` or later, without messages that were in the topic before.

    Meant for a few minutes of a stream, as it reads every decision. Raises DatabaseError.
    """
    with connected(postgres) as connection:
        return only(connection, Glance, _GLANCE, {"since": since})


def payments_span(postgres: PostgresSettings, customers: str) -> tuple[datetime, datetime] | None:
    """When customers with this id prefix made their first and last payment; None if they never did.

    Reads the whole table. Raises DatabaseError.
    """
    with connected(postgres) as connection:
        first, last = one(
            connection,
            "select min(timestamp), max(timestamp) from shop.transactions where starts_with(user_id, %s)",
            (customers,),
        )
    return None if first is None else (first, last)
