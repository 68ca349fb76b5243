"""The live scorer while it works off what came when it was down: what is new does not wait, nor do new models for it."""

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fraudstream.settings import Settings
from live_scorer import Topics, live_topics, promote, scorer
from quotas import slow_reads
from waiting import wait_until

WAITING = 10_000
"""Messages: with this quota a backlog of minutes, whatever the machine can do."""
QUOTA = 5_000
"""Bytes a second: with the first 55,000 it gives new messages at once, all of them."""


@pytest.fixture
def live(settings: Settings) -> Iterator[Topics]:
    with live_topics(settings, 2) as topics:
        yield topics


def test_new_messages_wait_for_no_backlog_and_are_decided_by_the_model_that_was_promoted_meanwhile(
    live: Topics, environment: dict[str, str], tmp_path: Path
) -> None:
    """Every message is answered, and nobody is told to add cores."""
    log, settings = tmp_path / "log", live.settings
    live.send(WAITING)
    there = environment | {"FRAUDSTREAM_SCORE__TRIGGER_SECONDS": "5"}
    with contextlib.ExitStack() as quota:
        quota.enter_context(slow_reads(settings, QUOTA))
        with scorer(there, log, "--from-beginning") as process:
            promote(settings.postgres, "second")
            wait_until(lambda: "model second decides on new messages" in log.read_text(), "promotion", log)
            new = live.send(100)
            live.await_answers(new, log)
            assert {live.answers[name][0].model_version for name in new} == {"second"}
            assert len(live.answers) < WAITING, "the backlog is not answered yet"
            quota.close()
            live.await_answers(live.sent, log)
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 130, log.read_text()
    assert {decisions[0].model_version for decisions in live.answers.values()} == {"first", "second"}
    summary = json.loads(log.with_suffix(".json").read_text())
    assert (summary["decisions"], summary["restarts"]) == (len(live.sent), 0)
    assert "more cores" not in log.read_text()
