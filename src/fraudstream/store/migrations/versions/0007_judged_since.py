"""Since when an alert has its verdict: a later label that confirms it does not count."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

REVIEWS = """
select a.*, l.is_fraud as verdict, l.labelled_at as reviewed_at, l.labelled_by as reviewed_by, l.note,
  coalesce(f.is_fraud, t.is_fraud) as truth{}
from shop.alerts as a
left join lateral (
  select is_fraud, labelled_at, labelled_by, note from shop.labels
  where transaction_id = a.transaction_id order by labelled_at desc, label_id desc limit 1
) as l on true
left join shop.fraud_transactions as f on f.transaction_id = a.transaction_id
left join shop.transactions as t on t.transaction_id = a.transaction_id"""
SINCE = """,
  (select min(labelled_at) from shop.labels as s
   where s.transaction_id = a.transaction_id and s.is_fraud = l.is_fraud and not exists (
     select from shop.labels as o where o.transaction_id = a.transaction_id and o.is_fraud <> l.is_fraud
     and (o.labelled_at, o.label_id) > (s.labelled_at, s.label_id)
   )) as judged_at"""
QUALITY = """
select date_trunc('day', scored_at) as day, model_version, count(*) as alerts,
  count(*) filter (where verdict) as confirmed, count(*) filter (where not verdict) as dismissed,
  count(*) filter (where verdict is null) as waiting,
  count(*) filter (where verdict)::float8 / nullif(count(verdict), 0) as precision,
  percentile_cont(0.5) within group (order by extract(epoch from {} - scored_at)) as label_delay_seconds
from shop.alert_reviews group by 1, 2"""


def upgrade() -> None:
    """Add `judged_at` to the reviews, and count the delay up to it. Replaced, not dropped: rights stay."""
    op.execute(f"create or replace view shop.alert_reviews as {REVIEWS.format(SINCE)}")
    op.execute(f"create or replace view shop.alert_quality as {QUALITY.format('judged_at')}")


def downgrade() -> None:
    """Count up to the last label again."""
    op.execute("drop view shop.alert_quality")
    op.execute("drop view shop.alert_reviews")
    op.execute(f"create view shop.alert_reviews as {REVIEWS.format('')}")
    op.execute(f"create view shop.alert_quality as {QUALITY.format('reviewed_at')}")
