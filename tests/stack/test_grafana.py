"""Every panel of Grafana on the real database: it shows something, reads little, and sees no person's name."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from fraudstream.settings import Settings
from fraudstream.store import roles
from fraudstream.store.connection import connect
from grafana_panels import Query, queries

Connection = psycopg.Connection[tuple[Any, ...]]

SEED = Path(__file__).with_name("grafana_seed.sql")
BIG = {
    "transactions",
    "fraud_transactions",
    "scores",
    "alerts",
    "labels",
    "rejected",
    "profiles",
    "latency_bins",
}
"""Tables that grow with the stream; the others hold a few rows for an hour, a partition or a model."""


@pytest.fixture
def empty(settings: Settings) -> Iterator[Connection]:
    """A database without a transaction, through a connection with the rights that Grafana's login has."""
    roles.apply(settings.postgres)
    with connect(settings.postgres, autocommit=True) as connection:
        connection.execute(f"set role {roles.READER}".encode())
        yield connection


@pytest.fixture
def seeded(empty: Connection) -> Connection:
    """The same with a week of transactions, decisions, reviews and rejected messages."""
    empty.execute("reset role")
    empty.execute(SEED.read_bytes())
    empty.execute(f"set role {roles.READER}".encode())
    return empty


def answer(connection: Connection, query: Query, **chosen: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows of a panel that looks at the last week."""
    until = datetime.now(UTC)
    cursor = connection.execute(query.expanded(until - timedelta(days=7), until, **chosen).encode())
    return [column.name for column in cursor.description or ()], cursor.fetchall()


def test_every_panel_shows_a_reader_something_of_a_week(seeded: Connection) -> None:
    """Rows, and in each column a value; all models or one; in steps as short as the panel's own, or of a day."""
    for query in queries():
        for chosen in ({}, {"interval": "1d"}, {"model": "m-1"}):
            columns, rows = answer(seeded, query, **chosen)
            assert rows, f"{query} is empty with {chosen}"
            for name, values in zip(columns, zip(*rows, strict=True), strict=True):
                assert any(value is not None for value in values), f"{query} has no {name}"


def test_what_is_drawn_over_time_comes_in_the_order_of_time(seeded: Connection) -> None:
    for query in queries():
        if query.format == "time_series":
            columns, rows = answer(seeded, query)
            assert columns[0] == "time"
            assert [row[0] for row in rows] == sorted(row[0] for row in rows), query


def test_the_largest_frauds_of_the_chosen_time_are_shown_and_no_others(seeded: Connection) -> None:
    top = next(query for query in queries() if "Top 5" in query.panel)
    until = datetime.now(UTC) - timedelta(days=3)
    shown = seeded.execute(top.expanded(until - timedelta(days=1), until).encode()).fetchall()
    largest = seeded.execute(
        "select transaction_id from shop.fraud_transactions where timestamp between %s and %s"
        " order by amount desc, transaction_id limit 5",
        [until - timedelta(days=1), until],
    )
    assert [row[1] for row in shown] == [row[0] for row in largest]
    assert len(shown) == 5


@pytest.mark.parametrize("minute", [2, 40])
@pytest.mark.parametrize("span", [timedelta(minutes=15), timedelta(hours=1)])
def test_the_hour_in_which_the_chosen_time_begins_counts(
    seeded: Connection, minute: int, span: timedelta
) -> None:
    """The last fifteen minutes of a busy stream had no payment: only hours that began within them counted."""
    until = datetime.now(UTC).replace(minute=minute, second=0) - timedelta(hours=2)
    since = until - span

    def shown(title: str) -> list[tuple[Any, ...]]:
        found = next(query for query in queries() if query.panel.endswith(f" {title}"))
        return seeded.execute(found.expanded(since, until).encode()).fetchall()

    hours = {f"{moment:%Y-%m-%d %H}:00Z" for moment in (since, until)}
    counts: dict[str, tuple[Any, ...]] = {
        row[0]: row[1:]
        for row in seeded.execute(
            "select kind, sum(count), sum(amount) from shop.hourly where hour = any(%s::timestamptz[]) group by 1",
            [list(hours)],
        )
    }
    fraud = counts.get("fraud", (0, 0))
    assert shown("Stored") == [(counts["transactions"][0] + fraud[0],)]
    assert shown("Fraud") == [(fraud[0],)]
    assert shown("Money in fraud") == [(fraud[1],)]
    rate = float(counts.get("alerts", (0,))[0] / counts["scores"][0])
    assert float(shown("Alert rate")[0][0]) == pytest.approx(rate)
    for drawn in ("Transactions", "Money"):
        assert len(shown(drawn)) == len(hours)
    assert len(shown("Share of fraud by the hour of the day")) == len(hours)
    assert sum(row[1] for row in shown("Risks")) == pytest.approx(1)
    assert {row[1] for row in shown("Drift of the risks")} == {"m-1", "m-2"}


def test_a_kind_of_fraud_that_messages_leave_empty_is_not_named(seeded: Connection) -> None:
    """It stood there as a bar without a name."""
    seeded.execute("reset role")
    seeded.execute(
        "update shop.fraud_transactions set fraud_scenario = '' where fraud_scenario = 'account_takeover'"
    )
    seeded.execute(f"set role {roles.READER}".encode())
    kinds = [query for query in queries() if "'not named'" in query.sql]
    assert len(kinds) == 2
    for query in kinds:
        assert {row[0] for row in answer(seeded, query)[1]} == {"card_testing", "not named"}


def test_frauds_that_came_before_the_first_decision_are_not_called_missed(seeded: Connection) -> None:
    """History that no model saw says nothing about the model."""
    seeded.execute("reset role")
    seeded.execute("delete from shop.scores where timestamp < now() - interval '3 days'")
    (scored,) = seeded.execute(
        "select count(*) from shop.fraud_transactions join shop.scores using (transaction_id)"
    ).fetchone() or (0,)
    caught = next(query for query in queries() if "Frauds caught" in query.panel)
    _, rows = answer(seeded, caught)
    assert 0 < scored < 200
    assert sum(row[1] + row[2] for row in rows) == scored


def test_risks_that_did_not_change_look_as_in_training_also_where_two_models_decided(
    seeded: Connection,
) -> None:
    """One has fewer bins, and few of the decisions: its shares weighed as much as those of the other."""
    risks = next(query for query in queries() if query.panel.endswith(" Risks"))
    for chosen in ({}, {"model": "m-2"}):
        _, rows = answer(seeded, risks, **chosen)
        now, training = ([float(value) for value in column] for column in list(zip(*rows, strict=True))[1:])
        assert now == pytest.approx(training, abs=0.03), chosen
        assert sum(training) == pytest.approx(1)


def test_reasons_that_differ_only_in_a_position_are_one_reason(seeded: Connection) -> None:
    """A hundred messages that are no JSON filled the list with a hundred reasons, each of one message."""
    why = next(query for query in queries() if query.panel.endswith(" Why"))
    _, rows = answer(seeded, why)
    assert [row[:2] for row in rows] == [
        ("amount: not a number", 200), ("not JSON: unexpected character at byte …", 100),
    ]  # fmt: skip


def test_no_panel_fails_before_the_first_transaction(empty: Connection) -> None:
    """No division by zero, no list of no models."""
    for query in queries():
        answer(empty, query)


def test_no_panel_reads_a_table_that_grows_from_its_start_to_its_end(seeded: Connection) -> None:
    """An index with a condition leads to each row, also where the planner would read these few rows whole."""
    for way in ("seqscan", "hashjoin", "mergejoin"):
        seeded.execute(f"set enable_{way} = off".encode())
    until = datetime.now(UTC)
    for query in queries():
        sql = query.expanded(until - timedelta(days=1), until)
        row = seeded.execute(f"explain (format json, costs off) {sql}".encode()).fetchone()
        assert row is not None
        for node in _nodes(row[0][0]["Plan"]):
            if node.get("Relation Name") in BIG:
                led = {"Index Cond", "Recheck Cond"} & node.keys()
                assert led, f"{query} reads all of {node['Relation Name']}: {json.dumps(node)}"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
