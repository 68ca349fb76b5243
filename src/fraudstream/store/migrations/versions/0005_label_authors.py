"""Records which login wrote a label, and refuses labels in the future: name and time come from the reviewer."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the check; the login of existing labels is unknown."""
    op.add_column(
        "labels",
        sa.Column("recorded_by", sa.Text, comment="The login that wrote it, as the database knows it."),
        schema="shop",
    )
    # Afterwards, so that existing rows do not get it.
    op.alter_column("labels", "recorded_by", server_default=sa.text("session_user"), schema="shop")
    # Like a file's label of the next minutes, an existing one gets the current time.
    op.execute("update shop.labels set labelled_at = now() where labelled_at > now()")
    op.create_check_constraint("labels_not_of_the_future", "labels", "labelled_at <= now()", schema="shop")


def downgrade() -> None:
    """Forget the logins."""
    op.drop_constraint("labels_not_of_the_future", "labels", schema="shop")
    op.drop_column("labels", "recorded_by", schema="shop")
