"""When a stream last made progress, and its patience: one that reports but makes no progress is stuck."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; they are unknown for earlier reports."""
    op.add_column(
        "stream_progress",
        sa.Column(
            "moved_at",
            sa.DateTime(timezone=True),
            comment="When next_offset last changed, or nothing waited.",
        ),
        schema="shop",
    )
    op.add_column(
        "stream_progress",
        sa.Column(
            "patience_seconds", sa.Double, comment="So long after moved_at it is stuck, if messages wait."
        ),
        schema="shop",
    )


def downgrade() -> None:
    """Forget it."""
    op.drop_column("stream_progress", "patience_seconds", schema="shop")
    op.drop_column("stream_progress", "moved_at", schema="shop")
