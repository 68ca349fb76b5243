"""What the pages ask of PostgreSQL: right counts, also of clocks, labels and messages that are out of the ordinary."""

from datetime import UTC, datetime, timedelta

from fraudstream.settings import PostgresSettings
from fraudstream.store import labels, model_quality, overview, pipeline, review
from fraudstream.store.connection import Connection, connect

DAY = timedelta(days=1)


def test_the_overview_is_not_carried_away_by_a_clock_of_the_year_9999(postgres: PostgresSettings) -> None:
    """It ends with the newest hour that is not in the future, and counts as long a time before it."""
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
    assert found.compared == overview.Compared(7 + 11 + 2, 13), (
        "24 hours each, without the one that is not over"
    )
    assert sum(bucket.count for bucket in found.buckets) == 14
    assert found.stakes == overview.Stakes(0, 0.0, 0, 0, 0.0, 0.0)


def steady(postgres: PostgresSettings, days: int) -> None:
    """100 payments and 10 alerts an hour, since some days and up to a few minutes ago."""
    with connect(postgres) as connection:
        connection.execute(
            """
            insert into shop.hourly (kind, hour, count, amount)
            select kind, hour, case when hour > now() - interval '1 hour' then 1 else count end, 0
            from generate_series(date_trunc('hour', now()) - make_interval(days => %s), now(), '1 hour') as hour,
              (values ('transactions', 100), ('alerts', 10)) as v (kind, count)""",
            (days,),
        )


def test_a_stream_that_goes_on_as_ever_has_not_changed(postgres: PostgresSettings) -> None:
    """The hour that had just begun counted as a whole one, and a day before the stream began as a day without payments."""
    steady(postgres, 10)
    found = overview.overview(postgres, 5 * DAY, "day")
    assert found is not None
    assert found.compared == overview.Compared(12_000, 12_000)
    found = overview.overview(postgres, 7 * DAY, "day")
    assert found is not None
    assert found.compared is None


def test_by_day_the_first_day_is_a_whole_one(postgres: PostgresSettings) -> None:
    """Each chart began with what was left of it at the present time of day."""
    steady(postgres, 10)
    found = overview.overview(postgres, 7 * DAY, "day")
    assert found is not None
    days = [bucket for bucket in found.buckets if bucket.kind == "transactions"]
    assert [bucket.count for bucket in days[:-1]] == [2_400] * (len(days) - 1)
    assert len(days) in {7, 8}
    assert days[0].time == found.since.replace(hour=0)


def test_history_that_was_never_scored_is_no_missed_fraud(postgres: PostgresSettings) -> None:
    """A month came before the model; of the two frauds that it decided on, it caught the larger."""
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


def test_a_thousand_kinds_of_rejected_messages_are_all_counted(postgres: PostgresSettings) -> None:
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


def test_verdicts_of_reviewers_are_not_displaced_by_a_file_of_chargebacks(postgres: PostgresSettings) -> None:
    """30 alerts were frauds and 30 were not; then 6,000 payments that raised no alert are labelled from a file."""
    with connect(postgres) as connection:
        flag(connection, 0, 60)
        connection.execute(
            "insert into shop.labels (transaction_id, is_fraud) select 'a' || n, n <= 30 from generate_series(1, 60) as n"
        )
        connection.execute(
            "insert into shop.labels (transaction_id, is_fraud) select 'c' || n, true from generate_series(1, 6000) as n"
        )
    assert review.alike(postgres, "a0", "m", 0.8) == review.Verdicts(30, 30, legitimate_known=True)
    assert review.alike(postgres, "a0", "m", 0.2) == review.Verdicts(0, 0, legitimate_known=True)
    (tenth,) = model_quality.at_work(postgres, "m").reviewed
    assert (round(tenth.risk, 6), tenth.reviewed, tenth.fraud) == (0.8, 60, 30)
    labels.label(postgres, "a1", is_fraud=False)
    assert review.alike(postgres, "a0", "m", 0.8) == review.Verdicts(29, 31, legitimate_known=True)


def test_a_shop_that_only_reads_chargebacks_is_told_no_precision(postgres: PostgresSettings) -> None:
    """100 alerts, 30 of them charged back; then a reviewer dismisses a payment that raised no alert."""
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


def test_the_verdicts_on_a_models_alerts_begin_with_a_whole_day(postgres: PostgresSettings) -> None:
    """An alert every hour for two months: the first of thirty days had what was left of it."""
    with connect(postgres) as connection:
        flag(connection, 1, 60 * 24)
        connection.execute(
            "update shop.alerts set scored_at = '2026-03-01 15:30+00'::timestamptz - substr(transaction_id, 2)::int * interval '1 hour'"
        )
    days = model_quality.at_work(postgres, "m").quality
    assert [day.alerts for day in days] == [24] * 29 + [15]
    assert (days[0].day, days[-1].day) == (
        datetime(2026, 1, 31, tzinfo=UTC),
        datetime(2026, 3, 1, tzinfo=UTC),
    )


def test_how_long_a_model_has_been_without_decisions_is_known(postgres: PostgresSettings) -> None:
    """Its last week may be long ago: the page called it the last 7 days."""
    assert model_quality.at_work(postgres, "m").newest is None
    with connect(postgres) as connection:
        connection.execute(
            """
            insert into shop.risk_bins (model_version, hour, bin, count)
            values ('m', '2026-03-01 15:00+00', 0, 2), ('m', '2026-02-20 15:00+00', 0, 3), ('n', '2026-04-01', 0, 4)"""
        )
    work = model_quality.at_work(postgres, "m")
    assert work.newest == datetime(2026, 3, 1, 15, tzinfo=UTC)
    assert work.bins == [model_quality.Bin(0, 2)]


def test_late_payments_do_not_make_a_query_of_one_hour_read_weeks(postgres: PostgresSettings) -> None:
    """One payment in 5,000 that came ten days late lay in every block range of the index."""
    with connect(postgres, autocommit=True) as connection:
        connection.execute(
            """
            insert into shop.transactions
              (transaction_id, user_id, timestamp, amount, device, location, transaction_location)
            select 't' || n, 'u', timestamptz '2025-03-01' + (n - case when n % 5000 = 0 then 86400 else 0 end)
              * interval '10 s', 1, 'd', 'l', 'l' from generate_series(1, 300000) as n"""
        )
        connection.execute("vacuum analyze shop.transactions")
        connection.execute("set enable_seqscan = off")
        ((plan,),) = connection.execute(
            """
            explain (analyze, format json) select count(*) from shop.transactions
            where timestamp >= '2025-03-10 10:00+00' and timestamp < '2025-03-10 11:00+00'"""
        ).fetchall()
    scan = plan[0]["Plan"]
    while "Plans" in scan and scan["Node Type"] != "Bitmap Heap Scan":
        scan = scan["Plans"][0]
    assert scan["Node Type"] == "Bitmap Heap Scan", plan
    assert scan["Actual Rows"] == 360
    assert scan["Rows Removed by Index Recheck"] < 30_000
