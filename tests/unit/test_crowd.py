"""When the demo's customers live: nobody pays for a day twice, and nobody in the future."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from fraudstream.demo.crowd import BUSY_HOUR, LIVE_DAYS, NEAR, Crowd, Stage

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SMALL = Crowd(users=300, days=2, rate=100_000)


class Payments:
    """A sink that notes what was sent."""

    def __init__(self) -> None:
        self.paid: list[datetime] = []
        self.ids: list[str] = []

    def send(self, _keys: list[bytes], values: list[bytes]) -> None:
        """Note ids and times."""
        payments = [msgspec.json.decode(value) for value in values]
        self.ids += [payment["transaction_id"] for payment in payments]
        self.paid += [datetime.fromisoformat(payment["timestamp"]) for payment in payments]

    def close(self) -> tuple[int, int]:
        """All is well."""
        return len(self.paid), 0


class FirstPayment(Payments):
    """A sink that ends the stream with its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.stop = threading.Event()

    def send(self, keys: list[bytes], values: list[bytes]) -> None:
        """Note them, and stop."""
        super().send(keys, values)
        self.stop.set()


def lived(latest: datetime, days: float = SMALL.days - 0.01) -> tuple[datetime, datetime]:
    """The first and the latest payment of the runs before."""
    return latest - timedelta(days=days), latest


def first_live(stage: Stage) -> datetime:
    """The first payment of the live stream."""
    for _ in stage.history():
        pass
    sink = FirstPayment()
    stage.live(sink, sink.stop)
    return sink.paid[0]


@pytest.mark.parametrize("hour", [0, 6, 16, 17, 18, 23])
def test_a_first_run_has_a_history_and_begins_a_week_ago_at_a_busy_hour(hour: int) -> None:
    """Whoever tries it while most customers sleep sees as many payments and frauds as anybody else."""
    now = NOW.replace(hour=hour)
    stage = Stage(SMALL, now)
    assert stage.history_days == 2
    began = first_live(stage)
    assert began.hour == BUSY_HOUR
    assert -timedelta(days=1) < began - (now - timedelta(days=LIVE_DAYS)) < timedelta(hours=1)


@pytest.mark.parametrize("ago", [timedelta(days=6), timedelta(days=40), NEAR + timedelta(minutes=1)])
def test_a_run_that_follows_goes_on_after_the_latest_payment(ago: timedelta) -> None:
    stage = Stage(SMALL, NOW, lived(NOW - ago))
    assert stage.history_days == 0
    assert timedelta(0) < first_live(stage) - (NOW - ago) < timedelta(days=1)


@pytest.mark.parametrize("ago", [timedelta(0), timedelta(hours=5), -timedelta(days=3)])
def test_a_run_after_payments_of_today_does_not_run_into_the_future(ago: timedelta) -> None:
    assert first_live(Stage(SMALL, NOW, lived(NOW - ago))) < NOW - NEAR


def test_every_run_of_a_day_makes_payments_that_no_earlier_run_made() -> None:
    """The first decision about an id is kept: a run that sent the ids of the last one showed no payments and no alerts."""
    sent: set[str] = set()
    for minutes in (0, 10, 20):
        now = NOW + timedelta(minutes=minutes)
        stage, sink = Stage(SMALL, now, lived(now - timedelta(hours=5))), FirstPayment()
        assert stage.history_days == 0
        stage.live(sink, sink.stop)
        assert not sent.intersection(sink.ids)
        sent.update(sink.ids)


@pytest.mark.parametrize("before", [None, lived(NOW - NEAR - timedelta(minutes=1))])
def test_a_run_sends_every_payment_up_to_its_beginning_and_ends_there(
    before: tuple[datetime, datetime] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Profiles leave out payments of the future and pages hide them; the user learns what to do next."""
    stage, sink = Stage(SMALL, NOW, before), Payments()
    for _ in stage.history():
        pass
    with caplog.at_level("WARNING", "fraudstream"):
        report = stage.live(sink, threading.Event())
    assert not report.interrupted
    assert NOW - timedelta(hours=2) < max(sink.paid) < NOW
    assert "have reached the present" in caplog.text
    assert "fraudstream reset" in caplog.text


@pytest.mark.parametrize(("days", "lacking"), [(0.01, 4), (0.99, 3), (2.98, 1), (3.99, 0), (60, 0)])
def test_a_run_after_one_whose_history_was_interrupted_first_lives_the_days_that_it_lacks(
    days: float, lacking: int
) -> None:
    """A model that learns from the first of them alone would stay champion in every run that follows."""
    latest = NOW - timedelta(days=LIVE_DAYS + 10)
    stage = Stage(replace(SMALL, days=4), NOW, lived(latest, days))
    assert stage.history_days == lacking
    assert timedelta(0) < first_live(stage) - (latest + timedelta(days=lacking)) < timedelta(days=1)


def test_the_days_that_a_history_lacks_do_not_lead_into_the_future() -> None:
    stage = Stage(replace(SMALL, days=4), NOW, lived(NOW - timedelta(days=2), 0.99))
    assert stage.history_days == 3
    assert first_live(stage) < NOW - NEAR
