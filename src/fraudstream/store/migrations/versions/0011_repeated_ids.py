"""One row for each alert, also where its transaction is stored twice: in tables by month an id comes again with another time."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

REVIEWS = """
select a.*, l.is_fraud as verdict, l.labelled_at as reviewed_at, l.labelled_by as reviewed_by, l.note, {} as truth,
  (select min(labelled_at) from shop.labels as s
   where s.transaction_id = a.transaction_id and s.is_fraud = l.is_fraud and not exists (
     select from shop.labels as o where o.transaction_id = a.transaction_id and o.is_fraud <> l.is_fraud
     and (o.labelled_at, o.label_id) > (s.labelled_at, s.label_id)
   )) as judged_at
from shop.alerts as a
left join lateral (
  select is_fraud, labelled_at, labelled_by, note from shop.labels
  where transaction_id = a.transaction_id order by labelled_at desc, label_id desc limit 1
) as l on true{}"""
ASKED = """coalesce(
    (select bool_or(is_fraud) from shop.fraud_transactions where transaction_id = a.transaction_id),
    (select bool_or(is_fraud) from shop.transactions where transaction_id = a.transaction_id))"""
JOINED = """
left join shop.fraud_transactions as f on f.transaction_id = a.transaction_id
left join shop.transactions as t on t.transaction_id = a.transaction_id"""


def upgrade() -> None:
    """Ask for the truth instead of joining it. Replaced, not dropped: rights stay."""
    op.execute(f"create or replace view shop.alert_reviews as {REVIEWS.format(ASKED, '')}")


def downgrade() -> None:
    """Join it again."""
    op.execute(
        f"create or replace view shop.alert_reviews as {REVIEWS.format('coalesce(f.is_fraud, t.is_fraud)', JOINED)}"
    )
