"""The demo's log away from a terminal, of alerts that are really stored."""

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from fraudstream.demo.crowd import Crowd, Stage
from fraudstream.demo.story import NEWEST, _Live
from fraudstream.demo.view import Lines
from fraudstream.settings import Settings
from fraudstream.store.alerts import Alert
from profile_world import decide
from samples import decision


class Looks(threading.Event):
    """Stops the demo two looks after a burst of alerts, which comes after some looks at nothing."""

    def __init__(self, settings: Settings, before: int = 0) -> None:
        super().__init__()
        self._steps = self._take(settings, before)

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - as an event has it
        """Whether it is over."""
        return next(self._steps)

    def _take(self, settings: Settings, before: int) -> Iterator[bool]:
        yield from [False] * before
        now = datetime.now(UTC)
        times = [(f"t{n}", now + timedelta(milliseconds=n), now) for n in range(NEWEST + 3)]
        left = ("left by another run", now, now - timedelta(hours=1))
        decide(
            settings.postgres,
            *(
                decision(
                    transaction_id=name, user_id=name, flagged=True, risk=0.9,
                    scored_at=scored_at.isoformat(), sent_at=sent_at.isoformat(),
                )
                for name, scored_at, sent_at in (left, *times)
            ),
        )  # fmt: skip
        yield from (False, False, True)


def watch(settings: Settings, looks: Looks, duration: float | None = None) -> tuple[Alert, float] | None:
    """Watch a stream that others store."""
    model: Any = SimpleNamespace(manifest={}, algorithm="a forest")
    spark: Any = None
    live = _Live(spark, settings, Stage(Crowd(users=50), datetime.now(UTC)), looks)
    return live.watch(Lines(), model, lambda: None, duration)


@pytest.mark.usefixtures("postgres")
def test_a_burst_of_alerts_is_logged_whole_and_its_first_alert_is_the_first(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A look a second read the newest five: the others were never logged, and the fifth was called the first."""
    with caplog.at_level(logging.INFO, "fraudstream"):
        first = watch(settings, Looks(settings))
    logged = [record.message.split(",")[0] for record in caplog.records if "ALERT" in record.message]
    assert logged == [f"ALERT 12.50 by t{n}" for n in range(NEWEST + 3)]
    assert first is not None
    assert first[0].transaction_id == "t0"


@pytest.mark.usefixtures("postgres")
def test_the_seconds_of_a_demo_count_from_its_first_decision(settings: Settings) -> None:
    """On a busy machine, 20 seconds were over before anything was decided: "0 payments decided, 0 alerts"."""
    first = watch(settings, Looks(settings, before=3), duration=0.01)
    assert first is not None, "it waited for a decision"
