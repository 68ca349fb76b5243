"""Profiles, and the labels that fold into them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
COUNTERS = (
    "count_10m",
    "count_1h",
    "count_1d",
    "count_7d",
    "count_30d",
    "amount_1d",
    "amount_7d",
    "amount_30d",
    "amount2_1d",
    "amount2_7d",
    "amount2_30d",
    "amount_max",
    "labelled_7d",
    "labelled_30d",
    "fraud_7d",
    "fraud_30d",
)


def upgrade() -> None:
    """Make the tables of what is remembered."""
    op.create_table(
        "profiles",
        sa.Column("entity", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("last_at", INSTANT, nullable=False, comment="The latest transaction; counters hold at it."),
        *(sa.Column(name, sa.Double, nullable=False) for name in COUNTERS),
        schema="shop",
        # Room for the next version of a row on its own page: a merge then leaves the index alone and takes a fifth less.
        postgresql_with={"fillfactor": 70},
    )
    op.create_table(
        "labels",
        sa.Column("label_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("transaction_id", sa.Text, nullable=False),
        sa.Column("is_fraud", sa.Boolean, nullable=False),
        sa.Column("labelled_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("labelled_by", sa.Text),
        sa.Column("note", sa.Text),
        sa.Column("folded_at", INSTANT, comment="When it was folded into the profiles."),
        schema="shop",
    )
    op.create_index("labels_transaction_id", "labels", ["transaction_id"], schema="shop")
    op.create_index(
        "labels_waiting",
        "labels",
        ["labelled_at"],
        schema="shop",
        postgresql_where=sa.text("folded_at is null"),
    )
    op.create_table(
        "watermarks",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("reached", INSTANT, nullable=False),
        schema="shop",
    )


def downgrade() -> None:
    """Drop the tables of what is remembered, with what they hold."""
    for name in ("watermarks", "labels", "profiles"):
        op.drop_table(name, schema="shop")
