"""What Grafana counts of reviews by joins is what the view says, which looks up the labels of each alert."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import Connection, connect
from grafana_panels import Query, queries

CHOSEN = "$__timeFilter(scored_at) and model_version ~ '^(${model:regex})$'"


def share(said: str, legitimate_known: str) -> str:
    """Of fraud, where anything is known to be legitimate."""
    return f"""case when count(*) filter (where not {said}) > 0 or exists ({legitimate_known})
      then count(*) filter (where {said})::float8 / nullif(count({said}), 0) end"""


REVIEWED = share(
    "verdict",
    """select from shop.labels as l where not l.is_fraud and $__timeFilter(l.labelled_at) and not exists (
      select from shop.labels as o where o.transaction_id = l.transaction_id and o.is_fraud
      and (o.labelled_at, o.label_id) > (l.labelled_at, l.label_id))""",
)
BY_THE_MESSAGES = share(
    "truth",
    """select from (select is_fraud from shop.transactions where $__timeFilter("timestamp") limit 1000) as few
      where not is_fraud""",
)
TIME = "$__timeGroupAlias(scored_at, '$__interval')"
MEDIAN = "percentile_cont(0.5) within group (order by extract(epoch from judged_at - scored_at)) as median"
BY_THE_VIEW = {
    ("Precision", "table"): f"select {REVIEWED} as precision from shop.alert_reviews where {CHOSEN}",
    ("Precision by the messages", "table"): (
        f"select {BY_THE_MESSAGES} as precision from shop.alert_reviews where {CHOSEN}"
    ),
    (
        "Waiting",
        "table",
    ): f"select count(*) as waiting from shop.alert_reviews where {CHOSEN} and verdict is null",
    ("Time to review", "table"): (
        f"select {MEDIAN} from shop.alert_reviews where {CHOSEN} and judged_at >= scored_at"
    ),
    ("Reviews", "time_series"): f"""
      select {TIME}, count(*) filter (where verdict) as confirmed, count(*) filter (where not verdict) as dismissed,
        count(*) filter (where verdict is null) as waiting
      from shop.alert_reviews where {CHOSEN} group by 1 order by 1""",
    ("Precision", "time_series"): f"""
      select {TIME}, {REVIEWED} as reviewed, {BY_THE_MESSAGES} as "by the messages"
      from shop.alert_reviews where {CHOSEN} group by 1 order by 1""",
    ("Label delay", "time_series"): f"""
      select {TIME}, {MEDIAN} from shop.alert_reviews where {CHOSEN} and judged_at >= scored_at group by 1 order by 1""",
}
"""What each panel means, as it asked before."""

COPY_ALERTS = """
copy shop.alerts (transaction_id, user_id, "timestamp", amount, risk, rules, model_version, scored_at, reasons, features)
from stdin"""
COPY_LABELS = "copy shop.labels (transaction_id, is_fraud, labelled_at, labelled_by) from stdin"
COPY_PAYMENTS = """
copy shop.{} (transaction_id, user_id, "timestamp", amount, device, location, transaction_location, is_fraud)
from stdin"""


@pytest.fixture
def reviewed(postgres: PostgresSettings) -> Iterator[Connection]:
    """600 alerts of three models within 25 days, with all that reviewers, chargebacks and repeated messages do to them."""
    chance, now = Random(4), datetime.now(UTC)
    alerts = [
        (
            f"t-{n}",
            now - timedelta(minutes=chance.uniform(0, 25 * 1440)),
            chance.choice(["m-1", "m-2", "m.3"]),
        )
        for n in range(600)
    ]
    with connect(postgres, autocommit=True) as connection:
        # As in tables that somebody has divided by month, where an id may come again.
        for table in ("transactions", "fraud_transactions"):
            connection.execute(f"alter table shop.{table} drop constraint {table}_pkey".encode())
        with connection.cursor().copy(COPY_ALERTS) as copy:
            for name, at, model in alerts:
                copy.write_row((name, "u", at, 9, 0.9, "{}", model, at, "[]", "{}"))
        with connection.cursor().copy(COPY_LABELS) as copy:
            for name, at, _ in alerts + [(f"quiet-{n}", now - timedelta(days=n), "") for n in range(20)]:
                moment = at
                for _ in range(chance.choice([0, 0, 1, 1, 2, 3, 4])):
                    # Also at one moment with the last one, and before the decision.
                    moment += timedelta(hours=chance.choice([0, 0, 1, 7, 60, -2, -50]))
                    said = chance.random() < 0.5
                    copy.write_row((name, said, min(moment, now), "anna"))
        for table, is_fraud in (("transactions", False), ("fraud_transactions", True)):
            with connection.cursor().copy(COPY_PAYMENTS.format(table)) as copy:
                for name, at, _ in alerts:
                    for _ in range(chance.choice([0, 0, 1, 2])):
                        copy.write_row((name, "u", at, 9, "phone", "Oslo", "Oslo", is_fraud))
        connection.execute("analyze")
        yield connection


def panels() -> dict[tuple[str, str], Query]:
    """Those of the alerts, by title and kind."""
    found = [query for query in queries() if query.dashboard == "Alerts and model quality"]
    return {(query.panel.partition(" ")[2], query.format): query for query in found}


def differences(connection: Connection) -> list[str]:
    """Panels that say something else than the view, over a month, a day, one model and steps of every length."""
    until = datetime.now(UTC)
    found = []
    for which, sql in BY_THE_VIEW.items():
        panel = panels()[which]
        for days in (30, 3, 1):
            for chosen in (
                {},
                {"interval": "1h"},
                {"interval": "1d", "model": "m-2|m\\.3"},
                {"model": "none"},
            ):
                since = until - timedelta(days=days)
                rows, expected = (
                    connection.execute(query.expanded(since, until, **chosen).encode()).fetchall()
                    for query in (panel, replace(panel, sql=sql))
                )
                if rows != expected:
                    found.append(f"{panel} over {days} days with {chosen}: {rows} instead of {expected}")
    return found


def test_reviews_are_counted_as_the_view_has_them(reviewed: Connection) -> None:
    """The view looks up the labels of every alert, which takes minutes of a million."""
    assert differences(reviewed) == []


def test_where_only_frauds_are_known_reviews_are_counted_as_the_view_has_them(reviewed: Connection) -> None:
    """Then there is no precision, neither of a month nor of a day."""
    reviewed.execute("delete from shop.labels where not is_fraud")
    reviewed.execute("delete from shop.transactions")
    assert differences(reviewed) == []
