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
from profile_world import decide
from samples import decision


class Looks(threading.Event):
    """Stops the demo after its second look; a burst of alerts comes before the first."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._steps = self._take(settings)

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - as an event has it
        """Whether it is over."""
        return next(self._steps)

    def _take(self, settings: Settings) -> Iterator[bool]:
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


@pytest.mark.usefixtures("postgres")
def test_a_burst_of_alerts_is_logged_whole_and_its_first_alert_is_the_first(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A look a second read the newest five: the others were never logged, and the fifth was called the first."""
    model: Any = SimpleNamespace(manifest={}, algorithm="a forest")
    spark: Any = None
    live = _Live(spark, settings, Stage(Crowd(users=50), datetime.now(UTC)), Looks(settings))
    with caplog.at_level(logging.INFO, "fraudstream"):
        first = live.watch(Lines(), model, lambda: None, None)
    logged = [record.message.split(",")[0] for record in caplog.records if "ALERT" in record.message]
    assert logged == [f"ALERT 12.50 by t{n}" for n in range(NEWEST + 3)]
    assert first is not None
    assert first[0].transaction_id == "t0"
