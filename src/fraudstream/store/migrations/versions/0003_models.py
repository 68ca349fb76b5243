"""The registry of models."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the registry."""
    op.create_table(
        "models",
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("promoted_at", INSTANT, comment="When it last became champion by promotion."),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("manifest", JSONB, nullable=False),
        sa.Column("artifact", sa.LargeBinary, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False, comment="Of the artifact's bytes."),
        sa.CheckConstraint(
            "status in ('candidate', 'champion', 'retired', 'rolled_back')", name="models_status"
        ),
        schema="shop",
    )
    op.create_index(
        "models_one_champion",
        "models",
        ["status"],
        schema="shop",
        unique=True,
        postgresql_where=sa.text("status = 'champion'"),
    )


def downgrade() -> None:
    """Drop the registry, with its models."""
    op.drop_table("models", schema="shop")
