"""Bounds for times and lengths of labels: reviewers write into the table directly, without the program's checks."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

CHECKS = {
    "labels_of_a_year": "labelled_at >= '0001-01-01 00:00:00+00'",
    "labels_of_a_length": "length(transaction_id) <= 128 and length(labelled_by) <= 256 and length(note) <= 2000",
}


def upgrade() -> None:
    """Add the checks. Existing rows are truncated to what they allow, so that they do not make the upgrade fail."""
    op.execute(
        "update shop.labels set labelled_at = '0001-01-01 00:00:00+00' where labelled_at < '0001-01-01 00:00:00+00'"
    )
    op.execute(
        "update shop.labels set transaction_id = left(transaction_id, 128), labelled_by = left(labelled_by, 256),"
        " note = left(note, 2000) where length(transaction_id) > 128 or length(labelled_by) > 256 or length(note) > 2000"
    )
    for name, check in CHECKS.items():
        op.create_check_constraint(name, "labels", check, schema="shop")


def downgrade() -> None:
    """Take anything again."""
    for name in CHECKS:
        op.drop_constraint(name, "labels", schema="shop")
