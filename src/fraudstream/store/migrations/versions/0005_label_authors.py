"""Which login wrote a label, and no label of the future: a reviewer gives name and time, the database does not take its word."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the check; of labels that are there already nobody knows the login."""
    op.add_column(
        "labels",
        sa.Column("recorded_by", sa.Text, comment="The login that wrote it, as the database knows it."),
        schema="shop",
    )
    # Afterwards, so that it is not given to rows that somebody else wrote.
    op.alter_column("labels", "recorded_by", server_default=sa.text("session_user"), schema="shop")
    # As a file's label of the next minutes does, one that is there already counts as said now.
    op.execute("update shop.labels set labelled_at = now() where labelled_at > now()")
    op.create_check_constraint("labels_not_of_the_future", "labels", "labelled_at <= now()", schema="shop")


def downgrade() -> None:
    """Forget the logins."""
    op.drop_constraint("labels_not_of_the_future", "labels", schema="shop")
    op.drop_column("labels", "recorded_by", schema="shop")
