"""What the pages ask of PostgreSQL: what a reviewer says counts, who has no more rights than that takes."""

import secrets
from collections.abc import Iterator
from datetime import timedelta

import pytest
from psycopg import sql
from pydantic import SecretStr

from fraudstream.errors import DatabaseError
from fraudstream.settings import PostgresSettings
from fraudstream.store import (
    alerts,
    history,
    labels,
    model_quality,
    overview,
    pipeline,
    registry,
    review,
    roles,
)
from fraudstream.store.connection import connect, connected
from fraudstream.store.migrate import migrate

DAY = timedelta(days=1)


@pytest.fixture
def reviewer(seeded: PostgresSettings) -> Iterator[PostgresSettings]:
    """A login of the role that docs/dashboard.md recommends."""
    name, password = f"reviewer_{secrets.token_hex(4)}", secrets.token_hex(8)
    roles.apply(seeded)
    with connect(seeded, autocommit=True) as connection:
        statement = sql.SQL("create role {} login password {} in role {}")
        connection.execute(
            statement.format(sql.Identifier(name), sql.Literal(password), sql.Identifier(roles.REVIEWER))
        )
    yield seeded.model_copy(update={"user": name, "password": SecretStr(password), "password_file": None})
    with connect(seeded, autocommit=True) as connection:
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def test_a_reviewer_may_see_every_page_and_label_but_reads_no_message(reviewer: PostgresSettings) -> None:
    migrate(reviewer)
    assert overview.overview(reviewer, 7 * DAY, "hour") is not None
    first, *_ = review.queue(reviewer, review.Wanted("all"))
    case = alerts.alert(reviewer, first.transaction_id)
    assert case is not None
    assert history.history(reviewer, case.user_id, case.timestamp)
    review.alike(reviewer, case.transaction_id, case.model_version, case.risk)
    model, *_ = registry.models(reviewer)
    model_quality.at_work(reviewer, model.version)
    found = pipeline.pipeline(reviewer)
    assert found.refused
    assert not found.may_read_messages
    assert all(message.start is None for message in found.refused)
    before = review.tally(reviewer)
    labels.label(reviewer, first.transaction_id, is_fraud=True, by="Ada")
    after = review.tally(reviewer)
    assert (
        after.confirmed + after.dismissed + after.waiting
        == before.confirmed + before.dismissed + before.waiting
    )
    with pytest.raises(DatabaseError, match="permission denied"), connected(reviewer) as connection:
        connection.execute("select email from shop.transactions")


def test_the_latest_of_several_verdicts_counts_everywhere(seeded: PostgresSettings) -> None:
    alert = review.queue(seeded, review.Wanted("waiting", "risk"), 1)[0]
    before = review.tally(seeded)
    labels.label(seeded, alert.transaction_id, is_fraud=False)
    labels.label(seeded, alert.transaction_id, is_fraud=True)
    after = review.tally(seeded)
    assert (after.waiting, after.confirmed, after.dismissed) == (
        before.waiting - 1, before.confirmed + 1, before.dismissed,
    )  # fmt: skip
    found = overview.overview(seeded, 30 * DAY, "day")
    assert found is not None
    assert (found.stakes.confirmed, found.stakes.dismissed) == (after.confirmed, after.dismissed)
    (line,) = review.queue(seeded, review.Wanted("reviewed", text=alert.transaction_id))
    assert line.verdict is True
    assert alert.transaction_id not in {
        waiting.transaction_id for waiting in review.queue(seeded, review.Wanted())
    }
