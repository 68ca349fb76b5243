"""Days of UTC whatever the reader's time zone, and no label delay of what was labelled before it was decided."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

VIEWS = {
    "alert_quality": """
select day, model_version, alerts, confirmed, dismissed, waiting,
  -- Where nobody calls anything legitimate, every labelled alert was fraud, whatever the model is worth.
  case when dismissed > 0 or exists (
    select from shop.labels as l
    where not l.is_fraud and l.labelled_at >= day and l.labelled_at < day + interval '{month}' and not exists (
      select from shop.labels as o where o.transaction_id = l.transaction_id and o.is_fraud
      and (o.labelled_at, o.label_id) > (l.labelled_at, l.label_id)
    )
  ) then confirmed::float8 / nullif(confirmed + dismissed, 0) end as precision, label_delay_seconds
from (
  select date_trunc('day', scored_at{zone}) as day, model_version, count(*) as alerts,
    count(*) filter (where verdict) as confirmed, count(*) filter (where not verdict) as dismissed,
    count(*) filter (where verdict is null) as waiting,
    percentile_cont(0.5) within group (order by extract(epoch from judged_at - scored_at)){later} as label_delay_seconds
  from shop.alert_reviews group by 1, 2
) as of_a_day""",
    "alert_rate": """
select day, scores, alerts, alerts::float8 / nullif(scores, 0) as alert_rate
from (
  select date_trunc('day', hour{zone}) as day, coalesce(sum(count) filter (where kind = 'scores'), 0)::bigint as scores,
    coalesce(sum(count) filter (where kind = 'alerts'), 0)::bigint as alerts
  from shop.hourly where kind in ('scores', 'alerts') group by 1
) as of_a_day""",
    "score_drift": """
with shares as (
  select r.model_version, r.day, r.bin, r.count / sum(r.count) over (partition by r.model_version, r.day) as share,
    sum(r.count) over (partition by r.model_version, r.day) as scores
  from (select model_version, date_trunc('day', hour{zone}) as day, bin, sum(count)::float8 as count
        from shop.risk_bins group by 1, 2, 3) as r
), reference as (
  select m.version as model_version, (e.place - 1)::int as bin, e.share::float8 as share,
    (m.manifest -> 'score_reference' ->> 'rows')::float8 as rows
  from shop.models as m, jsonb_array_elements_text(m.manifest -> 'score_reference' -> 'shares')
    with ordinality as e (share, place)
), days as (select distinct model_version, day, scores from shares)
select d.model_version, d.day, d.scores::bigint as scores,
  -- population stability index; an empty bin counts as one in ten thousand, so that the logarithm exists
  sum((greatest(coalesce(s.share, 0), 1e-4) - greatest(r.share, 1e-4))
    * ln(greatest(coalesce(s.share, 0), 1e-4) / greatest(r.share, 1e-4))) as psi,
  -- what it is on average where nothing has changed: few scores scatter
  (count(*) - 1) * (1 / d.scores + 1 / nullif(r.rows, 0)) as psi_by_chance
from days as d join reference as r using (model_version)
left join shares as s on s.model_version = d.model_version and s.day = d.day and s.bin = r.bin
group by d.model_version, d.day, d.scores, r.rows""",
}
AFTER = {"zone": ", 'UTC'", "month": "720 hours", "later": " filter (where judged_at >= scored_at)"}
"""A month in hours: in a zone with summer time, 30 days are an hour more or less."""
BEFORE = {"zone": "", "month": "30 days", "later": ""}


def upgrade() -> None:
    """Replace the views by day. Not dropped: rights stay."""
    for name, query in VIEWS.items():
        op.execute(f"create or replace view shop.{name} as {query.format(**AFTER)}")


def downgrade() -> None:
    """Follow the reader's zone again."""
    for name, query in VIEWS.items():
        op.execute(f"create or replace view shop.{name} as {query.format(**BEFORE)}")
