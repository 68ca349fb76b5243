"""When a consumer goes on after a failure, and when it gives up."""

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from false_postgres import WELCOME, false_postgres
from fraudstream import kafka
from fraudstream.errors import DatabaseUnreachable
from fraudstream.kafka import Range, Topic
from fraudstream.settings import Settings
from fraudstream.spark import consume as command
from fraudstream.spark import consumer as module
from fraudstream.spark import markers
from fraudstream.spark.consumer import Consumer, Summary, _Run
from fraudstream.spark.failures import NotStarted, QueryStopped, TopicReplaced
from fraudstream.spark.source import Planned
from waiting import HANG_SECONDS, wait_until

TOPIC = Topic("t", "id", (0,))


@pytest.fixture
def consumer() -> Consumer:
    """One that gives up 100 s after its last progress, without services."""
    settings = Settings(
        _env_file=None, kafka={"bootstrap_servers": "127.0.0.1:9"}, postgres={"retry_seconds": 100}
    )
    return Consumer(cast("Any", None), settings)


def test_a_consumer_whose_every_query_fails_late_gives_up_as_one_whose_queries_fail_at_once(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timeout takes longer than a minute: as that passed for health, the consumer restarted for ever."""
    real, queries = time.monotonic, [0.0]

    def stream(*_: object, **__: object) -> None:
        queries.append(70.0)
        assert len(queries) < 9, "it restarts for ever"
        raise DatabaseUnreachable("PostgreSQL does not answer.", hint="")

    monkeypatch.setattr(time, "monotonic", lambda: real() + sum(queries))
    monkeypatch.setattr(module, "migrate", lambda _: None)
    monkeypatch.setattr(kafka, "ensure_topic", lambda *_, **__: TOPIC)
    monkeypatch.setattr(Consumer, "_position", lambda *_, **__: {0: 0})
    monkeypatch.setattr(Consumer, "_where", lambda *_, **__: (TOPIC, {0: 0}))
    monkeypatch.setattr(Consumer, "_stream", stream)
    with pytest.raises(DatabaseUnreachable):
        consumer.run(("transactions",), once=False, stop=threading.Event())
    assert len(queries) == 1 + 3


class Quiet:
    """A query that has found nothing to do, and ends after two looks."""

    def __init__(self) -> None:
        self.lastProgress = SimpleNamespace(numInputRows=0)
        self._looks = iter([True, False])

    @property
    def isActive(self) -> bool:  # noqa: N802 - Spark's name
        """Until the second look."""
        return next(self._looks)


def test_a_failure_after_a_quiet_day_is_a_new_one(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was stored since the last one, as nothing came: Spark found nothing to do, and said so."""
    real, stop = time.monotonic, threading.Event()
    failure = QueryStopped("The broker went away.")
    assert consumer._patience.until(lambda: "found", failure, stop) == "found"
    monkeypatch.setattr(time, "monotonic", lambda: real() + 86_400)
    monkeypatch.setattr(markers, "pass_over", lambda *_: None)
    run = _Run("t", Summary(targets=("transactions",)), stop, once=False)
    report = SimpleNamespace(is_due=True, tell=lambda *_, **__: None)
    consumer._watch(run, TOPIC, cast("Any", Quiet()), cast("Any", report))
    assert consumer._patience.until(lambda: "found again", failure, stop) == "found again"


class Full:
    """Where Spark would write its state: a disk without a free byte."""

    def __call__(self, *_: object) -> None:
        """No checkpoint."""
        raise OSError(28, "No space left on device")


def alive(process: object = None) -> Any:
    """A session whose Java process is `process`; None is one that runs for ever."""
    return SimpleNamespace(sparkContext=SimpleNamespace(_gateway=SimpleNamespace(proc=process)))


@pytest.fixture
def full(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> Consumer:
    """The same, whose disk is full."""
    consumer._spark = alive()
    monkeypatch.setattr(module, "new_checkpoint", Full())
    monkeypatch.setattr(module, "migrate", lambda _: None)
    monkeypatch.setattr(kafka, "ensure_topic", lambda *_, **__: TOPIC)
    monkeypatch.setattr(Consumer, "_position", lambda *_, **__: {0: 0})
    return consumer


def test_a_full_disk_at_the_start_is_told_at_once(full: Consumer) -> None:
    """As by `score`: there is somebody to read it."""
    with pytest.raises(NotStarted, match="No space left on device") as caught:
        full.run(("transactions",), once=False, stop=threading.Event())
    assert "free disk" in caught.value.hint


def test_a_disk_that_is_full_for_a_while_does_not_end_a_consumer_that_restarts(
    full: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended in a traceback, though a minute later there was room again."""
    restarts: list[None] = []

    def where(*_: object) -> object:
        restarts.append(None)
        if len(restarts) == 2:
            monkeypatch.setattr(Consumer, "_stream", lambda *_: None)
        return TOPIC, {0: 0}

    monkeypatch.setattr(Consumer, "_where", where)
    full._patience.reward()
    summary = full.run(("transactions",), once=False, stop=threading.Event())
    assert summary.restarts == 2


def test_a_query_that_cannot_be_started_as_java_is_gone_is_not_tried_again(full: Consumer) -> None:
    """No restart of a query brings it back: the command ends and says so."""
    with subprocess.Popen(["true"]) as gone:
        full._spark = alive(gone)
        full._patience.reward()
        with pytest.raises(OSError, match="No space left"):
            full.run(("transactions",), once=False, stop=threading.Event())


def test_a_database_that_hangs_does_not_keep_a_consumer_that_is_to_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its disk stalls, say: its timeouts stand still with it, and only kill -9 ended the consumer."""
    monkeypatch.setattr(command, "LEAVE_SECONDS", 0.5)
    monkeypatch.setattr(command, "LOOK_SECONDS", 0.1)
    stop = threading.Event()
    with false_postgres(WELCOME, hangs=True) as false:
        postgres = {"host": "127.0.0.1", "port": false.port, "sslmode": "disable"}
        settings = Settings(_env_file=None, kafka={"bootstrap_servers": "127.0.0.1:9"}, postgres=postgres)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(
                command.consume, cast("Any", None), settings, ("transactions",), once=False, stop=stop
            )
            wait_until(lambda: b"BEGIN" in false.heard, "question")
            assert not running.done()
            stop.set()
            assert isinstance(running.exception(HANG_SECONDS), DatabaseUnreachable)
    assert "PostgreSQL does not answer: stopping without it." in caplog.text


class Tasks:
    """Tasks of a session's executors, which would store at once."""

    stored = 0

    @property
    def sparkContext(self) -> "Tasks":  # noqa: N802 - Spark's name
        """Where they come from."""
        return self

    def parallelize(self, *_: object) -> "Tasks":
        """Their numbers."""
        return self

    def mapPartitions(self, *_: object) -> "Tasks":  # noqa: N802 - Spark's name
        """What they do."""
        return self

    def collect(self) -> list[Any]:
        """Store it."""
        self.stored += 1
        return []


@pytest.mark.parametrize("log", [None, "", "v1\n{}\n{torn"])
def test_a_batch_whose_plan_was_deleted_or_torn_is_planned_anew(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: str | None
) -> None:
    """As where somebody clears the machine's temporary files between Spark's writing and our reading."""
    monkeypatch.setattr(module, "existing_topic", lambda *_: TOPIC)
    (tmp_path / "offsets").mkdir()
    if log is not None:
        (tmp_path / "offsets" / "0").write_text(log)
    planned = Planned(str(tmp_path), {0: 5})
    with pytest.raises(QueryStopped, match="checkpoint cannot be read"):
        consumer._store(TOPIC, Summary(targets=("transactions",)), planned, cast("Any", None), 0)
    (tmp_path / "offsets" / "0").write_text('v1\n{}\n{"t": {"0": 7, "1": 3, "2": 0}}')
    assert planned.ranges(0) == [Range(0, 5, 7), Range(1, 0, 3)]
    (tmp_path / "offsets" / "1").write_text('v1\n{}\n{"t": {"0": 7, "1": 4, "2": 0}}')
    assert planned.ranges(1) == [Range(1, 3, 4)]


def test_a_batch_of_a_topic_that_was_made_anew_since_is_not_stored(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark reads on by the name: its messages would get offsets of the old topic, and count as stored there."""
    asked: list[str] = []
    now = Topic("t", "id", (0,))

    def existing(_kafka: object, name: str, _admin: object) -> Topic:
        asked.append(name)
        return now

    monkeypatch.setattr(module, "existing_topic", existing)
    tasks, summary = Tasks(), Summary(targets=("transactions",))
    monkeypatch.setattr(consumer, "_spark", tasks)
    planned = cast("Planned", SimpleNamespace(ranges=lambda _: [Range(0, 0, 1)]))
    batch = cast("Any", None)  # the tasks read the messages themselves
    consumer._store(TOPIC, summary, planned, batch, 0)
    assert tasks.stored == 1
    now = Topic("t", "another id", (0,))
    with pytest.raises(TopicReplaced, match="Topic t was deleted and recreated") as caught:
        consumer._store(TOPIC, summary, planned, batch, 1)
    assert tasks.stored == 1
    assert consumer._failure is caught.value, "Spark's own exception does not say what to do"
    assert asked == ["t", "t"]
