"""What the scorer says of itself while its query is in the middle of a batch."""

import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fraudstream import kafka
from fraudstream.kafka import Bounds, Topic
from fraudstream.metrics import ScoreMonitor, Standing
from fraudstream.model import packing
from fraudstream.settings import Settings
from fraudstream.spark import scorer, succession, watch
from fraudstream.spark.answers import Tally
from fraudstream.spark.failures import NotStarted, QueryStopped
from fraudstream.spark.mode import Mode
from fraudstream.spark.scorer import Scorer
from fraudstream.spark.succession import Succession
from model_world import ensemble, packed


class Notes:
    """A keeper that writes nothing down, and ends the watch when it has heard enough."""

    def __init__(self, stop: threading.Event, enough: int) -> None:
        self.said: list[Standing] = []
        self._stop, self._enough = stop, enough
        self.is_asked, self.is_away = False, False
        self.basis = SimpleNamespace(scoring=SimpleNamespace(lookup="each batch asks"))

    def save(self, _topic: Topic, standing: Standing) -> None:
        """Called by the watch."""
        self.said.append(standing)
        if len(self.said) >= self._enough:
            self._stop.set()


@pytest.mark.parametrize(("feature", "warns"), [("merchant_risk_30d", True), ("amount", False)])
def test_a_model_that_learned_labels_by_another_delay_is_told_when_it_begins_to_score(
    feature: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, warns: bool
) -> None:
    """Labels that come with messages count after the 7 days that are set; one without features of labels does not care."""
    monkeypatch.setattr(scorer, "Scoring", lambda *_, **__: None)
    manifest, archive = packed("m-1", ensemble((feature, 0.1, -1.0, 1.0)), label_delay_days=1)
    model = packing.unpack(archive, manifest["version"])
    Scorer(cast("Any", None), Settings(_env_file=None), Mode.REALTIME, model)._ready(model)
    found = [message for message in caplog.messages if "FRAUDSTREAM_MODEL__LABEL_DELAY_DAYS" in message]
    assert len(found) == warns
    assert all(
        "a 1-day label delay" in message
        and "labels that come with messages count in live profiles after 7 (" in message
        for message in found
    )


def full(*_: object) -> None:
    """Spark writes profiles and code to a disk without a free byte."""
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("failing", ["Keeper", "run_first_job"])
def test_what_fails_before_the_first_query_is_told_as_what_fails_at_its_start(
    failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Profiles are loaded and code is compiled before it: a full disk was called a bug of ours."""
    keeper = SimpleNamespace(basis=SimpleNamespace(scoring=SimpleNamespace(warm_up=print), profiles=None))
    monkeypatch.setattr(scorer, "Keeper", lambda *_: keeper)
    monkeypatch.setattr(scorer, failing, full)
    monkeypatch.setattr(scorer, "warn_of_hindsight", lambda *_: None)
    monkeypatch.setattr(kafka, "ensure_topic", lambda *_: Topic("t", "id", (0,)))
    monkeypatch.setattr(Scorer, "_begin", lambda *_, **__: {0: 0})
    context = SimpleNamespace(_gateway=SimpleNamespace(proc=None), cancelAllJobs=lambda: None)
    spark, model = SimpleNamespace(sparkContext=context), SimpleNamespace(version="m")
    made = Scorer(cast("Any", spark), Settings(_env_file=None), Mode.REALTIME, cast("Any", model))
    with pytest.raises(NotStarted, match="No space left on device") as caught:
        made.run(threading.Event())
    assert "free disk" in caught.value.hint


class Aging:
    """A relay whose every query answers nothing, and fails after 70 s."""

    handovers, reached, ends = 0, {0: 100}, {0: 130}
    starts = 0

    def __init__(self, *_: object) -> None:
        self.current = SimpleNamespace(answers=True, began=time.monotonic())

    def begin(self, *_: object) -> None:
        """Start a query."""
        type(self).starts += 1

    def look(self) -> bool:
        """After 70 s."""
        raise QueryStopped("Spark stopped reading Kafka: a timeout")

    def stop(self) -> None:
        """Nothing runs."""


def test_a_scorer_whose_every_query_fails_late_gives_up_as_one_whose_queries_fail_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A timeout takes longer than a minute: as that passed for health, the scorer restarted for ever."""
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 70 * Aging.starts)
    monkeypatch.setattr(scorer, "Relay", Aging)
    stop, topic = threading.Event(), Topic("t", "id", (0,))
    monkeypatch.setattr(Scorer, "_where", lambda *_: (topic, {0: 100}))
    settings = Settings(_env_file=None, postgres={"retry_seconds": 100})
    made = Scorer(cast("Any", None), settings, Mode.REALTIME, cast("Any", None))
    keeper = Notes(stop, enough=10)
    keeper.basis.scoring.model = SimpleNamespace(version="m")
    summary = scorer.Summary(Mode.REALTIME, "m", 1)
    with pytest.raises(QueryStopped, match="a timeout"):
        made._go_on(topic, {0: 100}, made._parts(cast("Any", keeper), cast("Any", None)), summary, stop)
    assert summary.restarts == 2


def test_a_scorer_goes_on_where_it_stopped_and_asks_the_database_only_where_that_is_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the end of the topic, all that came during the outage would have no decision; PostgreSQL may be away, too."""
    bounds = {0: Bounds(20, 900), 1: Bounds(0, 70), 2: Bounds(30, 40)}
    before = now = Topic("t", "id", (0, 1))
    asked: list[Topic] = []

    def begin(_scorer: Scorer, topic: Topic, **_: object) -> dict[int, int]:
        asked.append(topic)
        return {0: 1, 1: 1, 2: 1}

    monkeypatch.setattr(scorer, "existing_topic", lambda *_: now)
    monkeypatch.setattr(kafka, "bounds", lambda *_: bounds)
    monkeypatch.setattr(Scorer, "_begin", begin)
    made = Scorer(cast("Any", None), Settings(_env_file=None), Mode.REALTIME, cast("Any", None))
    assert made._where(before, {0: 100, 1: 70}) == (now, {0: 100, 1: 70, 2: 30})
    assert made._where(before, {0: 20, 1: 0, 2: 40}) == (now, {0: 20, 1: 0, 2: 40})
    assert asked == []
    for lost in ({0: 19, 1: 70}, {0: 100, 1: 71}):
        assert made._where(before, lost) == (now, {0: 1, 1: 1, 2: 1})
    now = Topic("t", "another id", (0, 1))
    assert made._where(before, {0: 100, 1: 70}) == (now, {0: 1, 1: 1, 2: 1})
    assert asked == [before, before, now]


def test_a_scorer_in_a_long_batch_goes_on_saying_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger may be hours; without a word for a minute it would be called dead. It claims no more than it knows."""
    monkeypatch.setattr(watch, "NARRATE_SECONDS", 0.0)
    stop = threading.Event()
    keeper = Notes(stop, enough=4)
    relay = SimpleNamespace(
        handovers=0,
        current=SimpleNamespace(answers=True, began=time.monotonic()),
        newest=SimpleNamespace(answers=True, began=time.monotonic(), basis=keeper.basis),
        reached={0: 100},
        ends={0: 130},
        look=lambda: False,
        is_due=lambda *_: False,
    )
    made = Scorer(cast("Any", None), Settings(_env_file=None), Mode.REALTIME, cast("Any", None))
    parts = made._parts(cast("Any", keeper), cast("Any", SimpleNamespace(take_latest=Tally)))
    watched = watch.Watch(cast("Any", relay), Topic("t", "id", (0,)), parts)
    while not stop.is_set():
        watched.turn()
    assert [(said.reached, said.ends) for said in keeper.said] == [({0: 100}, {0: 130})] * 4


class Unstartable:
    """A relay whose query goes on, and whose every hand-over fails."""

    handovers, reached, ends = 0, {0: 100}, {0: 130}

    def __init__(self, stop: threading.Event, basis: object, *, late: bool) -> None:
        self.current = self.newest = SimpleNamespace(answers=True, began=time.monotonic(), basis=basis)
        self.tries: list[float] = []
        self._stop, self._late, self._started = stop, late, False

    def is_due(self, *_: object) -> bool:
        """Always."""
        return True

    def hand_over(self, _: object) -> None:
        """Fails at once, unless `late`."""
        self._started = self._late
        if not self._late:
            self._fail()

    def look(self) -> bool:
        """Fails if a hand-over began."""
        if self._started:
            self._started = False
            self._fail()
        return False

    def _fail(self) -> None:
        self.tries.append(time.monotonic())
        if len(self.tries) == 4:
            self._stop.set()
        raise NotStarted("A query could not be started: no space left.", hint="Check the disk.")


@pytest.mark.parametrize("late", [False, True])
def test_a_hand_over_that_keeps_failing_is_told_once_and_tried_again_ever_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, late: bool
) -> None:
    """The query that runs decides on, with its older profiles, and is well; a full disk ended `score`."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stop = threading.Event()
    keeper = Notes(stop, enough=1_000)
    relay = Unstartable(stop, SimpleNamespace(scoring=None), late=late)
    monitor = ScoreMonitor()
    monitor.begun("score")
    made = Succession(cast("Any", relay), cast("Any", keeper), monitor)
    while not stop.is_set():
        made.look()
        made.renew()
        now += 0.1
        assert now < relay.current.began + 60, "it is not tried again"
    assert monitor.health().ok, "or a supervisor would kill what decides"
    first, second, third, fourth = relay.tries
    assert [second - first, third - second, fourth - third] == pytest.approx([2, 4, 8], abs=0.3)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert all(
        part in warnings[0] for part in ("no space left", "current query continues", "Check the disk.")
    )


def test_a_hand_over_that_succeeded_since_makes_the_next_failure_news_also_during_a_backlog(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Then queries replace each other, and none takes over for hours; pauses grew from one outage to the next."""
    monkeypatch.setattr(succession, "RETRY_SECONDS", 0.0)
    stop = threading.Event()
    relay = Unstartable(stop, SimpleNamespace(scoring=None), late=False)
    made = Succession(cast("Any", relay), cast("Any", Notes(stop, enough=1_000)), ScoreMonitor())
    made.look()
    made.renew()
    relay.newest = SimpleNamespace(answers=True, began=time.monotonic(), basis=relay.current.basis)
    made.look()
    made.renew()
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 2
