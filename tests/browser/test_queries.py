"""What the pages ask of PostgreSQL: right counts, and no more rights than a reviewer has."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import sql
from pydantic import SecretStr

from dashboard_browser import Server
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
from fraudstream.store.connection import Connection, connect, connected
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


def test_the_overview_is_not_carried_away_by_a_clock_of_the_year_9999(server: Server) -> None:
    """It ends with the newest hour that is not in the future, and counts as long a time before it."""
    postgres = server.database()
    migrate(postgres)
    assert overview.overview(postgres, DAY, "hour") is None
    with connect(postgres) as connection:
        connection.execute(
            """
            insert into shop.hourly (kind, hour, count, amount)
            select kind, date_trunc('hour', now()) - make_interval(hours => ago), count, count * 10
            from (values ('transactions', 0, 5), ('transactions', 23, 7), ('transactions', 24, 11), ('fraud', 1, 2),
              ('transactions', 48, 13)) as v (kind, ago, count)
            union all select 'transactions', '9999-12-31 23:00+00', 1, 10"""
        )
    found = overview.overview(postgres, DAY, "hour")
    assert found is not None
    assert found.totals["transactions"] == overview.Total(12, 120.0)
    assert found.totals["fraud"] == overview.Total(2, 20.0)
    assert found.before["transactions"] == overview.Total(11, 110.0)
    assert sum(bucket.count for bucket in found.buckets) == 14
    assert found.stakes == overview.Stakes(0, 0.0, 0, 0, 0.0, 0.0)


def test_history_that_was_never_scored_is_no_missed_fraud(server: Server) -> None:
    """A month came before the model; of the two frauds that it decided on, it caught the larger."""
    postgres = server.database()
    migrate(postgres)
    with connect(postgres) as connection:
        connection.execute(
            """
            create temporary table fraud as
            select 't' || n as id, date_trunc('hour', now()) - make_interval(hours => 30 - n) as at, n as amount
            from generate_series(1, 30) as n"""
        )
        connection.execute(
            """
            insert into shop.fraud_transactions (transaction_id, user_id, timestamp, amount, device, location,
              transaction_location, is_fraud) select id, 'u', at, amount, 'd', 'l', 'l', true from fraud"""
        )
        connection.execute("insert into shop.hourly select 'fraud', at, 1, amount from fraud")
        connection.execute(
            """
            insert into shop.scores (transaction_id, user_id, timestamp, amount, risk, flagged, rules, model_version, scored_at)
            select id, 'u', at, amount, 0.5, amount = 30, '{}', 'm', at from fraud where amount >= 29"""
        )
    found = overview.overview(postgres, 7 * DAY, "hour")
    assert found is not None
    assert (found.stakes.scored_fraud_amount, found.stakes.caught_amount) == (59.0, 30.0)


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


def test_a_thousand_kinds_of_rejected_messages_are_all_counted(server: Server) -> None:
    postgres = server.database()
    migrate(postgres)
    with connect(postgres) as connection:
        connection.execute(
            """
            insert into shop.rejected (topic, topic_id, partition, "offset", value, reason, replayed_at)
            select 't', 't', 0, n, '{}', md5(n::text), case when n % 2 = 0 then now() end from generate_series(1, 1000) as n"""
        )
    found = pipeline.pipeline(postgres)
    assert (sum(r.count for r in found.reasons), sum(r.waiting for r in found.reasons)) == (1000, 500)
    assert len(found.refused) == pipeline.LISTED


def flag(connection: Connection, first: int, last: int) -> None:
    """Alerts of the model `m`, called by their numbers, each a minute older than the one before."""
    connection.execute(
        """
        insert into shop.alerts (transaction_id, user_id, timestamp, amount, risk, rules, model_version, scored_at,
          reasons, features)
        select 'a' || n, 'u', now(), 1, 0.8, '{}', 'm', now() - make_interval(mins => n), '[]', '{}'
        from generate_series(%s::int, %s::int) as n""",
        (first, last),
    )


def test_verdicts_of_reviewers_are_not_displaced_by_a_file_of_chargebacks(server: Server) -> None:
    """30 alerts were frauds and 30 were not; then 6,000 payments that raised no alert are labelled from a file."""
    postgres = server.database()
    migrate(postgres)
    with connect(postgres) as connection:
        flag(connection, 0, 60)
        connection.execute(
            "insert into shop.labels (transaction_id, is_fraud) select 'a' || n, n <= 30 from generate_series(1, 60) as n"
        )
        connection.execute(
            "insert into shop.labels (transaction_id, is_fraud) select 'c' || n, true from generate_series(1, 6000) as n"
        )
    assert review.alike(postgres, "a0", "m", 0.8) == review.Turnout(60, 30, legitimate_known=True)
    assert review.alike(postgres, "a0", "m", 0.2) == review.Turnout(0, 0, legitimate_known=True)
    (tenth,) = model_quality.at_work(postgres, "m").reviewed
    assert (round(tenth.risk, 6), tenth.reviewed, tenth.fraud) == (0.8, 60, 30)
    labels.label(postgres, "a1", is_fraud=False)
    assert review.alike(postgres, "a0", "m", 0.8) == review.Turnout(60, 29, legitimate_known=True)


def test_a_shop_that_only_reads_chargebacks_is_told_no_precision(server: Server) -> None:
    """100 alerts, 30 of them charged back; then a reviewer dismisses a payment that raised no alert."""
    postgres = server.database()
    migrate(postgres)
    with connect(postgres) as connection:
        flag(connection, 1, 100)
        connection.execute(
            "insert into shop.labels (transaction_id, is_fraud) select 'a' || n, true from generate_series(1, 30) as n"
        )

    def known() -> tuple[bool, ...]:
        return (
            review.tally(postgres).legitimate_known,
            review.tally(postgres, datetime.now(UTC) - timedelta(days=7)).legitimate_known,
            review.alike(postgres, "a99", "m", 0.8).legitimate_known,
            model_quality.at_work(postgres, "m").legitimate_known,
        )

    assert known() == (False,) * 4
    labels.label(postgres, "a1", is_fraud=False)
    labels.label(postgres, "a1", is_fraud=True)
    assert known() == (False,) * 4, "a word that was taken back is none"
    labels.label(postgres, "quiet", is_fraud=False)
    assert known() == (True,) * 4
