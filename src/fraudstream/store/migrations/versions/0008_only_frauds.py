"""No precision where only frauds are labelled, and the alert rate as a view."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

QUALITY = """
select day, model_version, alerts, confirmed, dismissed, waiting,
  -- Where nobody calls anything legitimate, every labelled alert was fraud, whatever the model is worth.
  case when dismissed > 0 or exists (
    select from shop.labels as l
    where not l.is_fraud and l.labelled_at >= day and l.labelled_at < day + interval '30 days' and not exists (
      select from shop.labels as o where o.transaction_id = l.transaction_id and o.is_fraud
      and (o.labelled_at, o.label_id) > (l.labelled_at, l.label_id)
    )
  ) then confirmed::float8 / nullif(confirmed + dismissed, 0) end as precision, label_delay_seconds
from (
  select date_trunc('day', scored_at) as day, model_version, count(*) as alerts,
    count(*) filter (where verdict) as confirmed, count(*) filter (where not verdict) as dismissed,
    count(*) filter (where verdict is null) as waiting,
    percentile_cont(0.5) within group (order by extract(epoch from judged_at - scored_at)) as label_delay_seconds
  from shop.alert_reviews group by 1, 2
) as of_a_day"""
QUALITY_BEFORE = """
select date_trunc('day', scored_at) as day, model_version, count(*) as alerts,
  count(*) filter (where verdict) as confirmed, count(*) filter (where not verdict) as dismissed,
  count(*) filter (where verdict is null) as waiting,
  count(*) filter (where verdict)::float8 / nullif(count(verdict), 0) as precision,
  percentile_cont(0.5) within group (order by extract(epoch from judged_at - scored_at)) as label_delay_seconds
from shop.alert_reviews group by 1, 2"""
RATE = """
select day, scores, alerts, alerts::float8 / nullif(scores, 0) as alert_rate
from (
  select date_trunc('day', hour) as day, coalesce(sum(count) filter (where kind = 'scores'), 0)::bigint as scores,
    coalesce(sum(count) filter (where kind = 'alerts'), 0)::bigint as alerts
  from shop.hourly where kind in ('scores', 'alerts') group by 1
) as of_a_day"""


def upgrade() -> None:
    """Replace `alert_quality`, which keeps its rights, and add `alert_rate` and an index for what was called legitimate."""
    op.create_index(
        "labels_legitimate",
        "labels",
        ["labelled_at"],
        schema="shop",
        postgresql_where=sa.text("not is_fraud"),
    )
    op.execute(f"create or replace view shop.alert_quality as {QUALITY}")
    op.execute(f"create view shop.alert_rate as {RATE}")


def downgrade() -> None:
    """Claim it again."""
    op.execute("drop view shop.alert_rate")
    op.execute(f"create or replace view shop.alert_quality as {QUALITY_BEFORE}")
    op.drop_index("labels_legitimate", "labels", schema="shop")
