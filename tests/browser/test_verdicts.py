"""A verdict is for the alert that was read, however the keys are pressed and whatever colleagues do meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dashboard_browser import Visit
from dashboard_world import waiting
from fraudstream.dashboard.desk import PAUSE
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connect
from waiting import wait_until


@pytest.fixture(autouse=True)
def _none_of_it_stays(seeded: PostgresSettings) -> Iterator[None]:
    """Verdicts of this file would be missing in the queue of the others."""
    with connect(seeded) as connection:
        found = connection.execute("select coalesce(max(label_id), 0) from shop.labels").fetchone()
    yield
    assert found
    with connect(seeded) as connection:
        connection.execute("delete from shop.labels where label_id > %s", found)


def labelled(postgres: PostgresSettings, names: list[str]) -> list[str]:
    """Whose labels there are, each as often as there are labels of it."""
    with connect(postgres) as connection:
        found = connection.execute(
            "select transaction_id from shop.labels where transaction_id = any(%s) order by label_id",
            (names,),
        ).fetchall()
    return [name for (name,) in found]


@contextmanager
def reviewing(visit: Visit, dashboard: str, name: str) -> Iterator[None]:
    """The page with this alert open, and time enough for every press to be heard at the end."""
    visit.go(f"{dashboard}/alerts", name)
    visit.page.get_by_role("button", name="Next").wait_for()
    visit.settled()
    yield
    visit.settled()


def test_two_presses_in_a_row_are_one_verdict(dashboard: str, seeded: PostgresSettings, visit: Visit) -> None:
    first, second, *rest = waiting(seeded)
    with reviewing(visit, dashboard, first):
        visit.page.keyboard.press("f")
        visit.page.keyboard.press("f")
        visit.see(second)
    assert labelled(seeded, [first, second, *rest]) == [first]


def test_a_press_while_the_verdict_before_is_saved_still_leads_to_the_next_alert(
    dashboard: str, seeded: PostgresSettings, visit: Visit
) -> None:
    """Streamlit draws the page for it in a second thread: that had no verdict yet, and stayed."""
    first, second, *rest = waiting(seeded)
    with reviewing(visit, dashboard, first), connect(seeded) as other:
        other.execute("lock table shop.labels in exclusive mode")
        visit.page.keyboard.press("f")
        wait_until(lambda: is_waiting(seeded), "verdict")
        visit.page.keyboard.press("f")
        visit.page.wait_for_timeout(1000)
        other.rollback()
        visit.see(second)
        visit.see("saved")
    assert labelled(seeded, [first, second, *rest]) == [first]


def is_waiting(postgres: PostgresSettings) -> bool:
    """Whether somebody waits for a lock."""
    with connect(postgres) as connection:
        found = connection.execute(
            "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        return found.rowcount > 0


def test_a_key_that_is_held_down_judges_the_alert_that_was_read_and_none_after_it(
    dashboard: str, seeded: PostgresSettings, visit: Visit
) -> None:
    """Labels are never deleted and train the model; a second press in time is one for the second alert."""
    first, second, *rest = waiting(seeded)
    with reviewing(visit, dashboard, first):
        visit.page.keyboard.down("f")
        visit.see(second)
        for _ in range(40):  # as a keyboard does, and on a busy machine slowly
            visit.page.keyboard.down("f")
            visit.page.wait_for_timeout(60)
        visit.page.wait_for_timeout(PAUSE * 1000)
        visit.page.keyboard.down("f")
        visit.page.keyboard.up("f")
    assert labelled(seeded, [first, second, *rest]) == [first]
    visit.see(second)
    visit.page.wait_for_timeout(PAUSE * 1000)
    visit.page.keyboard.press("d")
    visit.see(rest[0])
    assert labelled(seeded, [first, second, *rest]) == [first, second]


def test_the_next_alert_is_one_that_no_colleague_has_judged(
    dashboard: str, seeded: PostgresSettings, visit: Visit
) -> None:
    """Nor does N lead back to the first of the list from an alert that a colleague judged while it was open."""
    first, second, third, fourth, *_ = waiting(seeded)
    say = "insert into shop.labels (transaction_id, is_fraud, labelled_by) values (%s, true, 'a colleague')"
    with reviewing(visit, dashboard, first):
        with connect(seeded) as connection:
            connection.execute(say, (second,))
        visit.page.keyboard.press("f")
        visit.see(third)
    with connect(seeded) as connection:
        connection.execute(say, (third,))
    visit.page.keyboard.press("n")
    visit.see(fourth)


def test_an_address_that_no_alert_can_have_opens_the_queue(
    dashboard: str, seeded: PostgresSettings, visit: Visit
) -> None:
    """PostgreSQL refused it at every look, until the browser loaded the page anew."""
    visit.go(f"{dashboard}/alerts?alert=%00", waiting(seeded)[0])
