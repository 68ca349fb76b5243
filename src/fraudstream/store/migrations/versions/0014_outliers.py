"""What a few late payments and one huge amount leave as good as it was.

Each block range of a time index keeps several spans, not one; and no payment adds more than a million to the sum of all
amounts.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TABLES = ("transactions", "fraud_transactions", "scores")


def upgrade() -> None:
    """Replace the indexes (a table that was divided into partitions may have others), and limit the sum of all amounts."""
    _make("timestamptz_minmax_multi_ops")
    op.execute(
        "update shop.profiles set amount_30d = least(amount_30d, count_30d * 1e6) where entity = 'total'"
    )


def downgrade() -> None:
    """One span for each block range again."""
    _make("timestamptz_minmax_ops")


def _make(spans: str) -> None:
    for table in TABLES:
        op.execute(f"drop index if exists shop.{table}_timestamp")
        op.execute(f"create index {table}_timestamp on shop.{table} using brin (timestamp {spans})")
