"""The state of the model and the streams: the figures, read from PostgreSQL alone."""

from dataclasses import dataclass, field

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connected
from fraudstream.store.drift import Drift
from fraudstream.store.latency import BINS_PER_E
from fraudstream.store.pipeline import PROGRESS, Progress
from fraudstream.store.rejected import is_flood
from fraudstream.store.review import LEGITIMATE_KNOWN, Verdicts
from fraudstream.store.rows import one, only, row, rows

REVIEW_DAYS = 30
"""Period of the alerts from which precision is computed."""
RATE_HOURS = 24
"""Period of the decisions from which the alert rate is computed."""
LATENCY_MINUTES = 5
ENOUGH_SCORES = 1_000
"""Scores that a day needs to say much about drift: an older day that has them is preferred."""
MOST_REJECTED = 100_000
"""Counting stops here: a whole topic in another format may have millions, and no index helps."""
NEWEST = 100
"""Messages of each partition that show what a topic carries now."""


@dataclass(frozen=True, slots=True)
class Champion:
    """The model that scores."""

    version: str
    algorithm: str
    threshold: float | None
    alert_rate: float | None
    """Share of transactions that it should flag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviews(Verdicts):
    """Alerts of the last REVIEW_DAYS, and their verdicts."""

    alerts: int
    waiting: int
    label_delay_seconds: float | None
    """Median, from the decision to the first label of the current verdict; without those from before the decision, as
    replayed history has them."""


@dataclass(frozen=True, slots=True)
class AlertRate:
    """Decisions of the last RATE_HOURS."""

    scores: int | None
    """Those of models with a score reference; None if there were none."""
    alerts: int

    @property
    def alert_rate(self) -> float | None:
        """Share that was flagged."""
        return self.alerts / self.scores if self.scores else None


@dataclass(frozen=True, slots=True)
class Latency:
    """From a transaction's entry into Kafka to its decision, in the last LATENCY_MINUTES."""

    decisions: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A topic of whose NEWEST messages some were rejected within the last hour."""

    topic: str
    newest: int
    rejected: int
    reason: str
    """Of the latest."""

    @property
    def is_flood(self) -> bool:
        """Whether the topic has another format."""
        return is_flood(self.rejected, self.newest)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All figures at one time; those that were never measured are None."""

    champion: Champion | None
    reviews: Reviews
    pace: AlertRate
    drift: Drift | None
    latency: Latency
    streams: list[Progress]
    """One for each stream, topic and partition."""
    rejected: int
    """Messages that could not be read and were not replayed; at most MOST_REJECTED + 1."""
    unreadable: list[Unreadable] = field(default_factory=list)


_CHAMPION = """
select version, algorithm, (manifest ->> 'threshold')::float8 as threshold,
  (manifest ->> 'alert_rate')::float8 as alert_rate
from shop.models where status = 'champion'"""

_SINCE = f"now() - interval '{REVIEW_DAYS} days'"
_REVIEWS = f"""
with said as (
  select distinct on (transaction_id) is_fraud as verdict, labelled_at as judged_at, scored_at
  from (
    select transaction_id, is_fraud, labelled_at, label_id, scored_at, lag(is_fraud)
      over (partition by transaction_id order by labelled_at, label_id) as before
    from shop.labels join shop.alerts using (transaction_id) where scored_at > {_SINCE}
  ) as l where is_fraud is distinct from before  -- one that repeats the verdict makes it no later
  order by transaction_id, labelled_at desc, label_id desc
)
select flagged.alerts, count(*) filter (where verdict) as confirmed, count(*) filter (where not verdict) as dismissed,
  flagged.alerts - count(verdict) as waiting,
  percentile_cont(0.5) within group (order by date_part('epoch', judged_at - scored_at))
    filter (where judged_at >= scored_at) as label_delay_seconds,
  {LEGITIMATE_KNOWN.format(since=_SINCE, until="'infinity'")} as legitimate_known
from (select count(*) as alerts from shop.alerts where scored_at > {_SINCE}) as flagged left join said on true
group by flagged.alerts"""  # noqa: S608 - constants
"""As `shop.alert_reviews` has them, by one join: a lookup for each alert took 13 s of a million, and 10 s are the limit."""

_PACE = """
select (select sum(count)::bigint from shop.risk_bins where hour >= since) as scores,
  (select count(*) from shop.alerts where scored_at >= since
   and model_version in (select model_version from shop.risk_bins where hour >= since)) as alerts
from (select date_trunc('hour', now()) - make_interval(hours => %s) as since) as span"""

_DRIFT = """
select day, scores, psi, psi_by_chance from shop.score_drift
where model_version = %s and day > now() - interval '8 days' order by (scores >= %s) desc, day desc limit 1"""

_LATENCY = f"""
with bins as (
  select bin, sum(count) as count from shop.latency_bins
  where minute >= date_trunc('minute', now()) - make_interval(mins => %s) group by bin
), running as (
  select bin, sum(count) over (order by bin) as below, sum(count) over () as decisions from bins
)
select coalesce(max(decisions), 0)::bigint as decisions,
  exp(min(bin) filter (where below >= 0.50 * decisions) / {BINS_PER_E}::float8) * 1000 as p50_ms,
  exp(min(bin) filter (where below >= 0.95 * decisions) / {BINS_PER_E}::float8) * 1000 as p95_ms,
  exp(min(bin) filter (where below >= 0.99 * decisions) / {BINS_PER_E}::float8) * 1000 as p99_ms
from running"""  # noqa: S608 - a constant

# Counts the newest messages, which an index finds; those that wait have no index, and replays begin with the oldest.
_REJECTED = """
select count(*) filter (where replayed_at is null)
from (select replayed_at from shop.rejected order by rejected_at desc limit %s) as newest"""

_UNREADABLE = f"""
select topic, sum(least(next_offset, {NEWEST}))::bigint as newest, sum(count)::bigint as rejected,
  (array_agg(reason order by last desc nulls last))[1] as reason
from (
  select topic, topic_id, partition, max(next_offset) as next_offset from shop.stream_offsets
  where updated_at > now() - interval '1 hour' and target <> 'score'  -- which rejects nothing, and reads ahead
  group by 1, 2, 3
) as reading cross join lateral (
  select count(*) as count, max(rejected_at) as last, (array_agg(r.reason order by r."offset" desc))[1] as reason
  from shop.rejected as r
  where r.topic_id = reading.topic_id and r.partition = reading.partition
    and r."offset" >= reading.next_offset - {NEWEST}
    and r.rejected_at > now() - interval '1 hour' and r.replayed_at is null
) as rejects
group by topic having sum(count) > 0 order by topic"""  # noqa: S608 - a constant


def snapshot(postgres: PostgresSettings) -> Snapshot:
    """The current figures. Raises DatabaseError, also if a table is locked for long."""
    with connected(postgres, snapshot=True, brief=True) as connection:
        champion = row(connection, Champion, _CHAMPION)
        return Snapshot(
            champion=champion,
            reviews=only(connection, Reviews, _REVIEWS),
            pace=only(connection, AlertRate, _PACE, (RATE_HOURS,)),
            drift=row(connection, Drift, _DRIFT, (champion.version, ENOUGH_SCORES)) if champion else None,
            latency=only(connection, Latency, _LATENCY, (LATENCY_MINUTES,)),
            streams=rows(connection, Progress, PROGRESS),
            rejected=one(connection, _REJECTED, (MOST_REJECTED + 1,))[0],
            unreadable=rows(connection, Unreadable, _UNREADABLE),
        )
