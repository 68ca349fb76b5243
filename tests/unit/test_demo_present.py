"""A demo whose customers have reached the present: it ends by itself, as one that did its work."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from fraudstream.demo import preparation, story
from fraudstream.demo.crowd import Crowd, Stage
from fraudstream.demo.view import Lines
from fraudstream.settings import Settings
from fraudstream.spark.consumer import Summary
from fraudstream.store.glance import Glance
from fraudstream.store.targets import TARGETS


class Sink:
    """Acknowledges everything."""

    def __init__(self, *_: object, **__: object) -> None:
        self.count = 0

    def send(self, _keys: list[bytes], values: list[bytes]) -> None:
        """Count them."""
        self.count += len(values)

    def close(self) -> tuple[int, int]:
        """All is well."""
        return self.count, 0


class Scorer:
    """Ready at once."""

    def __init__(self, *_: object) -> None:
        self.ready = threading.Event()
        self.ready.set()

    def run(self, stop: threading.Event) -> None:
        """Until it is stopped."""
        stop.wait()


def ran(
    monkeypatch: pytest.MonkeyPatch, rate: float, looked: Callable[[threading.Event], object]
) -> story.Ending:
    """A demo that was asked for an hour; around its live stream, nothing is real. `looked` hears of each look at it."""
    stop, crowd = threading.Event(), Crowd(users=300, days=2, rate=rate)
    model: Any = SimpleNamespace(manifest={}, algorithm="a forest")
    stage = Stage(crowd, datetime.now(UTC))
    alerts = SimpleNamespace(Alert=None, alerts=lambda *_, **__: looked(stop) or [])
    for name, fake in {
        "fraudstream.spark.command.spark_session": lambda *_, **__: nullcontext(),
        "fraudstream.signals.stop_on_signals": lambda: nullcontext(stop),
        "fraudstream.spark.consume.consume": lambda *_, stop, **__: stop.wait(),
        "fraudstream.store.registry.opened": lambda *_: None,
        "fraudstream.spark.score.with_threads": lambda settings, _: settings,
        "fraudstream.spark.scorer.Scorer": Scorer,
        "fraudstream.demo.story._fetch": lambda *_: None,
        "fraudstream.demo.story.embedded": lambda settings: settings,
        "fraudstream.demo.story.ensure_topic": lambda *_: SimpleNamespace(partitions=[0]),
        "fraudstream.demo.story.migrate": lambda *_: None,
        "fraudstream.demo.story.prepare": lambda *_: (stage, model),
        "fraudstream.demo.story.Sender": Sink,
        "fraudstream.demo.story.glance": lambda *_: Glance(0, 0, None, None, None, 0, 0, 0, 0),
        "fraudstream.demo.story.alerts": alerts,
        "fraudstream.demo.story.Feed": lambda *_: SimpleNamespace(step=list),
    }.items():
        monkeypatch.setattr(name, fake)
    monkeypatch.setattr("fraudstream.demo.story.LOOK_SECONDS", 0.1)
    return story.run(Settings(_env_file=None), crowd, Lines(), lambda _: nullcontext(), 3600)


def test_a_demo_whose_customers_reach_the_present_ends_and_was_not_interrupted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With `--duration`, its exit code would tell scripts of a Ctrl-C that nobody pressed."""
    with caplog.at_level("WARNING", "fraudstream"):
        assert not ran(monkeypatch, 100_000, lambda _stop: None).interrupted
    assert "have reached the present" in caplog.text


def test_a_demo_that_is_stopped_before_that_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ran(monkeypatch, 1, threading.Event.set).interrupted


def test_the_preparation_says_how_many_rows_were_stored_in_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The consumer tells every five seconds and not at its end, so that 199,998 rows were followed by 252,807 labels."""
    summary = Summary(targets=tuple(TARGETS))
    summary.stored.update(transactions=250_000, fraud=2_807, profiles=9_000)
    monkeypatch.setattr("fraudstream.spark.consume.consume", lambda *_, **__: summary)
    spark: Any = None
    with caplog.at_level("INFO", "fraudstream"):
        preparation._store(spark, Settings(_env_file=None), Lines(), threading.Event())
    assert "stored 252,807 rows in all" in caplog.text
