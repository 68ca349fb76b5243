"""A click opens the alert that was clicked, whatever came in since the list was drawn."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from dashboard_browser import Visit
from fraudstream.settings import PostgresSettings
from fraudstream.store import review
from fraudstream.store.connection import connect

HEADER, MARGIN = 35, 15
"""Pixels of a table: its lines are drawn, so there is nothing to click but a place."""


@pytest.fixture
def arrive(seeded: PostgresSettings) -> Iterator[Callable[[str], None]]:
    """Stores an alert of this id that is newer than all others, and else the same as the newest."""
    names: list[str] = []

    def newest(name: str) -> None:
        names.append(name)
        other = {
            "transaction_id": name,
            "scored_at": (datetime.now(UTC) + timedelta(hours=len(names))).isoformat(),
        }
        with connect(seeded) as connection:
            connection.execute(
                """
                insert into shop.alerts
                select (jsonb_populate_record(null::shop.alerts, to_jsonb(a) || %s::jsonb)).*
                from shop.alerts as a order by scored_at desc limit 1""",
                (json.dumps(other),),
            )

    yield newest
    with connect(seeded) as connection:
        connection.execute("delete from shop.alerts where transaction_id = any(%s)", (names,))


def test_a_click_on_the_overview_opens_what_stood_there_though_a_newer_alert_came(
    dashboard: str, seeded: PostgresSettings, visit: Visit, arrive: Callable[[str], None]
) -> None:
    first = review.queue(seeded, review.Wanted("all"), 1)[0].transaction_id
    visit.go(dashboard, "Newest alerts")
    visit.charts(3)
    table = visit.page.locator("[data-testid=stDataFrame]")
    table.scroll_into_view_if_needed()
    arrive("came while somebody looked at the list")
    table.click(position={"x": MARGIN, "y": HEADER + MARGIN})
    visit.see("The customer's payments around it")
    visit.see(first)
    assert "came while somebody looked at the list" not in visit.text


def test_of_two_alerts_that_look_alike_a_click_opens_the_one_that_was_clicked(
    dashboard: str, visit: Visit, arrive: Callable[[str], None]
) -> None:
    """Of one amount and one risk, as when a thief tries cards with the same small sum."""
    arrive("the earlier twin")
    arrive("the later twin")
    visit.go(f"{dashboard}/alerts", re.compile("the later twin"))
    captions = visit.page.locator(".st-key-queue [data-testid=stRadioCaption]")
    for place, name in ((1, "the earlier twin"), (0, "the later twin")):
        captions.nth(place).click(force=True)
        visit.read(name)
        visit.settled()
