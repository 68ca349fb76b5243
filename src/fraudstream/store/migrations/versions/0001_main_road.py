"""Transactions, offsets and rejected messages."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables of the main road."""
    for name in ("transactions", "fraud_transactions"):
        op.create_table(
            name,
            sa.Column("transaction_id", sa.Text, primary_key=True),
            sa.Column("user_id", sa.Text, nullable=False),
            sa.Column("timestamp", INSTANT, nullable=False),
            sa.Column("amount", sa.Double, nullable=False),
            sa.Column("device", sa.Text, nullable=False),
            sa.Column("location", sa.Text, nullable=False),
            sa.Column("transaction_location", sa.Text, nullable=False),
            sa.Column("first_name", sa.Text),
            sa.Column("last_name", sa.Text),
            sa.Column("full_name", sa.Text),
            sa.Column("email", sa.Text),
            sa.Column("merchant_id", sa.Text),
            sa.Column("currency", sa.Text),
            sa.Column("is_fraud", sa.Boolean),
            sa.Column("fraud_scenario", sa.Text),
            schema="shop",
        )
        op.create_index(f"{name}_timestamp", name, ["timestamp"], schema="shop", postgresql_using="brin")
    op.create_table(
        "stream_offsets",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column(
            "topic_id",
            sa.Text,
            primary_key=True,
            comment="The broker's UUID: a topic made anew starts at its own zero.",
        ),
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column(
            "next_offset",
            sa.BigInteger,
            nullable=False,
            comment="Every message below is in the target, and none at or above.",
        ),
        sa.Column("updated_at", INSTANT, nullable=False, server_default=sa.func.now()),
        schema="shop",
    )
    op.create_table(
        "rejected",
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("topic_id", sa.Text, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("offset", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key", sa.LargeBinary),
        sa.Column("value", sa.LargeBinary, comment="The message, byte for byte; null for a tombstone."),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("rejected_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("replayed_at", INSTANT, comment="When it was sent to the topic again."),
        schema="shop",
    )


def downgrade() -> None:
    """Drop the tables of the main road, with what they hold."""
    for name in ("rejected", "stream_offsets", "fraud_transactions", "transactions"):
        op.drop_table(name, schema="shop")
