"""What a profile would hold without its latest and without its largest payment."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COMMENTS = {
    "last_gap": "Seconds between the latest two transactions, at most a year.",
    "amount_second": "The second largest amount.",
}


def upgrade() -> None:
    """Add the columns. For earlier payments they are unknown, so that these remain the latest and the largest."""
    for name, comment in COMMENTS.items():
        # With a default no row is written again, and without it afterwards none can be stored incomplete.
        column = sa.Column(name, sa.Double, nullable=False, server_default="0", comment=comment)
        op.add_column("profiles", column, schema="shop")
        op.alter_column("profiles", name, server_default=None, schema="shop")


def downgrade() -> None:
    """Forget it."""
    for name in reversed(COMMENTS):
        op.drop_column("profiles", name, schema="shop")
