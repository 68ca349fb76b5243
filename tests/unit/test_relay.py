"""How far the scorer has come, from one query to the next, by what Spark says of them."""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fraudstream import kafka
from fraudstream.errors import BrokerUnreachable
from fraudstream.kafka import Bounds, Topic
from fraudstream.settings import Settings
from fraudstream.spark import launcher as launching
from fraudstream.spark import relay as module
from fraudstream.spark.failures import NotStarted, QueryStopped, TopicReplaced
from fraudstream.spark.launcher import Launcher
from fraudstream.spark.live_query import Basis, LiveQuery
from fraudstream.spark.mode import Mode
from fraudstream.spark.recovery import CURABLE
from fraudstream.spark.relay import Relay
from fraudstream.spark.timing import GRACE_SECONDS


class Query:
    """A query of Spark that runs until it is stopped, and ends batches when it is told to."""

    def __init__(self) -> None:
        self.isActive, self.name, self.runId = True, "score", "id"
        self.status = {"message": "Waiting for data to arrive"}
        self.lastProgress: Any = None

    def ends_at(self, *offsets: int, batch: int | None = None) -> None:
        """A batch ended, which answered everything below these offsets of each partition."""
        ends = json.dumps({"t": {str(p): offset for p, offset in enumerate(offsets)}})
        if batch is None:
            batch = 0 if self.lastProgress is None else self.lastProgress.batchId + 1
        source = SimpleNamespace(endOffset=ends, latestOffset=ends)
        began = str(time.monotonic_ns())
        self.lastProgress = SimpleNamespace(batchId=batch, timestamp=began, sources=[source])

    def stop(self) -> None:
        """By the relay, which was told that another one answers."""
        self.isActive = False


class Stubborn(Query):
    """A query that Spark cannot stop."""

    def stop(self) -> None:
        """In vain."""
        raise TimeoutError("Spark does not answer")


def basis() -> Basis:
    """A model with profiles that took half a second to read."""
    scoring = SimpleNamespace(model=SimpleNamespace(version="m"), lookup=None)
    return cast("Basis", SimpleNamespace(scoring=scoring, reading_seconds=0.5))


def runner(query: Query, *start: int) -> LiveQuery:
    """One that has run for long enough to answer."""
    given = cast("Any", None), cast("Any", query), dict(enumerate(start)), basis()
    made = LiveQuery(*given, tempfile.TemporaryDirectory(), building_seconds=1.0, batch_seconds=10.0)
    made._ready_at = made.began - GRACE_SECONDS
    return made


@pytest.fixture
def relay() -> Relay:
    """A relay that no broker was asked for."""
    settings = Settings(_env_file=None, kafka={"bootstrap_servers": "127.0.0.1:9"})
    streams, alive = SimpleNamespace(resetTerminated=lambda: None), SimpleNamespace(_gateway=None)
    spark = SimpleNamespace(streams=streams, sparkContext=alive)
    return Relay(cast("Any", spark), settings, Mode.REALTIME, Topic("t", "id", (0, 1)))


def test_a_password_that_is_being_replaced_is_a_hand_over_for_later(tmp_path: Path) -> None:
    """The scorer waits for it as for a broker that is away, while its queries run and before the first of them."""
    password = tmp_path / "password"
    password.write_text("")
    login = {
        "bootstrap_servers": "127.0.0.1:9",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": "ann",
    }
    settings = Settings(_env_file=None, kafka=login | {"sasl_password": "secret"})
    replaced = settings.kafka.model_copy(update={"sasl_password": None, "sasl_password_file": password})
    settings = settings.model_copy(update={"kafka": replaced})
    relay = Relay(cast("Any", None), settings, Mode.REALTIME, Topic("t", "id", (0,)))
    with pytest.raises(BrokerUnreachable, match="is empty"):
        relay.hand_over(cast("Any", None))


def test_a_hand_over_takes_nothing_back(relay: Relay) -> None:
    """The successor begins where the topic ended when it was started, below what the query before answered since.

    Where it stands was said to be there, which made a pace of -87 messages a second.
    """
    first, second = Query(), Query()
    relay._current, relay._next = runner(first, 0, 0), runner(second, 80, 40)
    assert not relay.look(), "nothing is answered for certain before a batch ends"
    assert relay.reached == {0: 0, 1: 0}
    first.ends_at(100, 40)
    assert relay.look()
    assert (relay.handovers, relay.reached) == (1, {0: 100, 1: 40})
    assert not relay.look(), "no batch of the second one has ended"
    second.ends_at(90, 60)
    assert relay.look()
    assert relay.reached == {0: 100, 1: 60}, (
        "the first one answered to 100 what the second one has not reached"
    )
    second.ends_at(170, 70)
    assert relay.look()
    assert relay.reached == {0: 170, 1: 70}
    relay.stop()


def test_a_scorer_without_messages_says_where_it_stands_and_counts_the_first_that_come(relay: Relay) -> None:
    """Spark gives what an empty trigger found the number of the batch that comes next."""
    query = Query()
    relay._current = runner(query, 7)
    query.ends_at(7, batch=0)
    assert relay.look()
    query.ends_at(7, batch=0)
    assert relay.look(), "or the scorer would pass for one that hangs"
    assert not relay.look()
    query.ends_at(9, batch=0)
    assert relay.look()
    assert relay.reached == {0: 9}
    relay.stop()


def test_a_topic_that_cannot_be_compared_leaves_a_query_that_looks_up_alone(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of it has ended, so it reads and answers: a new start would only delay decisions."""
    asked: list[object] = []

    def away(*given: object) -> None:
        asked.append(given)
        raise BrokerUnreachable("127.0.0.1:9", 10)

    monkeypatch.setattr(kafka, "admin", lambda _: None)
    monkeypatch.setattr(module, "existing_topic", away)
    query = Query()
    relay._current = runner(query, 7)
    relay._current.basis.scoring.lookup = cast("Any", "each batch asks")
    query.ends_at(9)
    assert relay.look()
    assert relay.reached == {0: 9}
    assert len(asked) == 1
    relay.stop()


def test_a_topic_that_was_made_anew_ends_its_queries_at_a_hand_over_and_while_none_is_due(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its offsets may not show that: the new topic may have been filled beyond where the old one was read."""
    monkeypatch.setattr(kafka, "admin", lambda _: None)
    monkeypatch.setattr(kafka, "bounds", lambda *_: {0: Bounds(0, 900)})
    monkeypatch.setattr(module, "existing_topic", lambda *_: Topic("t", "another id", (0, 1)))
    monkeypatch.setattr(
        Relay, "_launch", lambda *_: pytest.fail("a query reads the new topic as the old one")
    )
    query = Query()
    current = relay._current = runner(query, 0)
    with pytest.raises(TopicReplaced, match="Topic t was deleted and recreated"):
        relay.hand_over(current.basis)
    assert query.isActive, "whoever restarts the stream stops it"
    current.basis.scoring.lookup = cast("Any", "each batch asks")
    query.ends_at(5)
    with pytest.raises(TopicReplaced):
        relay.look()
    relay.stop()


class Written:
    """Where a query of Spark would be described: every call leads on, and what it is given is kept."""

    def __init__(self) -> None:
        self.given: dict[str, object] = {}

    def __getattr__(self, _: str) -> "Written":
        return self

    def __call__(self, *_: object, **options: object) -> "Written":
        """One of the description's calls."""
        self.given |= options
        return self


@pytest.mark.parametrize("mode", Mode)
def test_a_decision_is_on_every_replica_before_its_message_counts_as_answered(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    """Nor is one sent out of order after a retry: nothing of that shows while the leader stays."""
    described = Written()
    monkeypatch.setattr(launching, "read_messages", lambda *_: None)
    monkeypatch.setattr(launching, "new_checkpoint", lambda _: tempfile.TemporaryDirectory())
    scoring = SimpleNamespace(model=SimpleNamespace(version="m"), lookup=None, decide=lambda *_: described)
    given = cast("Basis", SimpleNamespace(scoring=scoring, profiles=None, reading_seconds=0.5))
    relay._launcher = Launcher(relay._spark, relay._settings, mode, relay._topic)
    relay.begin(given, {0: 0})
    assert described.given["kafka.acks"] == "all"
    assert described.given.get("kafka.enable.idempotence", "true") == "true", "as is Java's default"
    relay.current._checkpoint.cleanup()


def test_no_query_is_relieved_before_it_covers_where_the_next_one_begins(relay: Relay) -> None:
    """Else messages between the two would count as answered, and nobody had answered them."""
    first, second = Query(), Query()
    relay._current, relay._next = runner(first, 0, 0), runner(second, 80, 40)
    first.ends_at(100, 39)
    assert relay.look()
    assert (relay.handovers, relay.reached) == (0, {0: 100, 1: 39})
    first.ends_at(100, 40)
    relay.look()
    assert (relay.handovers, relay.reached) == (1, {0: 100, 1: 40})
    relay.stop()


def test_a_partition_that_the_next_query_brings_begins_where_it_begins(relay: Relay) -> None:
    first, second = Query(), Query()
    relay._current, relay._next = runner(first, 0), runner(second, 80, 7)
    first.ends_at(100)
    relay.look()
    assert relay.reached == {0: 100, 1: 7}
    relay.stop()


def test_a_relieved_query_that_does_not_stop_is_told_and_the_stream_goes_on(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two queries then share the task slots, which nobody could explain."""
    said: list[str] = []
    monkeypatch.setattr(module.log, "warning", lambda text, *values: said.append(text % values))
    first, second = Stubborn(), Query()
    relieved = relay._current = runner(first, 0)
    relay._next = runner(second, 80)
    first.ends_at(100)
    assert relay.look()
    relay.stop()
    relieved._checkpoint.cleanup()
    assert relay.handovers == 1
    assert said == ["A replaced query did not stop and still holds its task slots: Spark does not answer"]


def test_a_batch_that_goes_on_for_long_after_its_time_ends_the_query_unless_nothing_comes(
    relay: Relay,
) -> None:
    """As where the clock was set back. A query that waits for messages has no batch that could end."""
    query = Query()
    relay._current = runner(query, 0)
    relay._current._ready_at = relay.current.began - 69
    query.status["message"] = "Processing new data"
    relay.look()
    relay._current._ready_at = relay.current.began - 71
    query.status["message"] = "Waiting for data to arrive"
    relay.look()
    query.status["message"] = "Processing new data"
    with pytest.raises(QueryStopped, match="was the clock set back"):
        relay.look()
    query.ends_at(5)
    relay.look()
    relay.stop()


def test_new_messages_get_newer_profiles_while_the_current_query_works_off_a_backlog(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The successor is replaced at the end of a batch by one that starts there; both wait for the backlog to be answered."""
    bounds = {0: SimpleNamespace(first=0, end=990), 1: SimpleNamespace(first=0, end=60)}
    monkeypatch.setattr(kafka, "admin", lambda _: None)
    monkeypatch.setattr(kafka, "bounds", lambda *_: bounds)
    monkeypatch.setattr(module, "existing_topic", lambda *_: relay._topic)
    third = Query()
    launched: list[dict[int, int]] = []

    def launch(_relay: Relay, _basis: Basis, start: dict[int, int]) -> LiveQuery:
        launched.append(start)
        return runner(third, *start.values())

    monkeypatch.setattr(Relay, "_launch", launch)
    first, second = Query(), Query()
    current, following = runner(first, 0, 0), runner(second, 900, 50)
    relay._current, relay._next = current, following
    assert not relay.is_due(current.basis), "its first batch goes on"
    second.ends_at(950, 55)
    following.began -= 11
    relay.look()
    assert relay.is_due(current.basis)
    relay.hand_over(current.basis)
    assert launched == [{0: 950, 1: 55}]
    assert (first.isActive, second.isActive, relay.reached) == (True, False, {0: 0, 1: 0})
    third.ends_at(980, 58)
    first.ends_at(899, 50)
    relay.look()
    assert (relay.handovers, relay.reached) == (0, {0: 899, 1: 50})
    first.ends_at(901, 52)
    relay.look()
    assert (relay.handovers, relay.reached) == (1, {0: 980, 1: 58})
    relay.stop()


@pytest.fixture
def added(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Query, dict[int, int]]]:
    """A query that looks up profiles and reads two partitions of three, and where its successor will have begun."""
    bounds = {0: (0, 900), 1: (0, 900), 2: (3_000, 5_000)}
    monkeypatch.setattr(kafka, "admin", lambda _: None)
    monkeypatch.setattr(kafka, "bounds", lambda *_: {p: Bounds(*ends) for p, ends in bounds.items()})
    monkeypatch.setattr(module, "existing_topic", lambda *_: relay._topic)
    query, began = Query(), dict[int, int]()

    def launch(_relay: Relay, _basis: Basis, start: dict[int, int]) -> LiveQuery:
        began.update(start)
        return runner(Query(), *start.values())

    monkeypatch.setattr(Relay, "_launch", launch)
    relay._mode, relay._current = Mode.MICROBATCH, runner(query, 0, 0)
    relay.current.basis.scoring.lookup = cast("Any", "each batch asks")
    yield query, began
    relay.stop()


def test_a_partition_that_the_current_query_found_itself_is_not_decided_again_at_a_promotion(
    relay: Relay, added: tuple[Query, dict[int, int]]
) -> None:
    """Such a query lives for weeks: all that was kept of the partition came again, and what was new waited for it."""
    query, began = added
    query.ends_at(800, 800, 4_000)
    relay.look()
    relay.hand_over(basis())
    assert began == {0: 900, 1: 900, 2: 5_000}
    query.ends_at(900, 900, 4_999)
    relay.look()
    assert relay.handovers == 0, "the message between the two would have no decision"
    query.ends_at(900, 900, 5_000)
    relay.look()
    assert (relay.handovers, relay.reached) == (1, began)


def test_a_partition_that_was_added_a_moment_ago_is_read_from_its_first_message(
    relay: Relay, added: tuple[Query, dict[int, int]]
) -> None:
    """The current query has not found it, and may be relieved before it does."""
    query, began = added
    query.ends_at(900, 900)
    relay.look()
    relay.hand_over(basis())
    assert began == {0: 900, 1: 900, 2: 3_000}
    relay.look()
    assert (relay.handovers, relay.reached) == (1, began)


def test_a_partition_that_only_the_query_before_had_found_goes_on_where_that_one_ended(
    relay: Relay, added: tuple[Query, dict[int, int]]
) -> None:
    """The current one started before it was there: to read on from the end of the partition would leave a hole."""
    query, began = added
    relay._answered = {2: 4_000}
    query.ends_at(900, 900)
    relay.look()
    relay.hand_over(basis())
    assert began == {0: 900, 1: 900, 2: 4_000}
    relay.look()
    assert relay.handovers == 1, "the current one need not find it first"


class Ended(Query):
    """A query that failed."""

    def __init__(self) -> None:
        super().__init__()
        self.isActive = False

    def exception(self) -> Exception:
        """What stopped it."""
        return RuntimeError("java.io.IOException: No space left on device")


def full_disk(monkeypatch: pytest.MonkeyPatch, relay: Relay) -> None:
    """The broker answers, and no query can be started."""
    bounds = {0: SimpleNamespace(first=0, end=990)}
    monkeypatch.setattr(kafka, "admin", lambda _: None)
    monkeypatch.setattr(kafka, "bounds", lambda *_: bounds)
    monkeypatch.setattr(module, "existing_topic", lambda *_: relay._topic)

    def read(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(launching, "read_messages", read)


def test_a_full_disk_while_the_next_query_is_started_leaves_the_current_one_alone(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended `score`, whose query decided on every message all the same."""
    full_disk(monkeypatch, relay)
    query = Query()
    current = relay._current = runner(query, 0)
    with pytest.raises(NotStarted, match="No space left on device") as caught:
        relay.hand_over(current.basis)
    assert "free disk" in caught.value.hint
    query.ends_at(5)
    assert relay.look()
    assert (relay.newest, query.isActive, relay.reached) == (current, True, {0: 5})
    relay.stop()


def test_a_full_disk_where_queries_do_not_overlap_is_a_new_start(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The query before was stopped, so none continues: the stream resumes where that one ended."""
    full_disk(monkeypatch, relay)
    alone = relay._settings.score.model_copy(update={"overlap": False})
    relay._settings = relay._settings.model_copy(update={"score": alone})
    relay._current = runner(Query(), 0)
    with pytest.raises(CURABLE, match="No space left on device") as caught:
        relay.hand_over(relay.current.basis)
    assert not isinstance(caught.value, NotStarted)
    relay.stop()


def test_a_full_disk_during_a_backlog_leaves_the_query_that_works_it_off_alone(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers what is new as well, only later."""
    full_disk(monkeypatch, relay)
    first, second = Query(), Query()
    current = relay._current = runner(first, 0)
    relay._next = runner(second, 900)
    with pytest.raises(NotStarted, match="No space left on device"):
        relay.hand_over(current.basis)
    relay.look()
    assert (relay.newest, first.isActive, second.isActive) == (current, True, False)
    relay.stop()


def test_a_next_query_that_fails_before_it_takes_over_leaves_the_current_one_alone(relay: Relay) -> None:
    """Spark plans the first batch after the start: a full disk, or an executor that is lost, shows only then."""
    query = Query()
    current = relay._current = runner(query, 0)
    relay._next = runner(Ended(), 80)
    query.ends_at(5)
    with pytest.raises(NotStarted, match="No space left on device"):
        relay.look()
    assert relay.look(), "what the current one answered counts"
    assert (relay.newest, relay.handovers, relay.reached) == (current, 0, {0: 5})
    relay.stop()


@pytest.mark.parametrize("answers", [False, True])
def test_only_a_next_query_that_does_not_answer_lacks_slots(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    """One that answers waits for the query before it: more cores for Spark are no remedy."""
    said: list[str] = []
    monkeypatch.setattr(module.log, "warning", lambda text, *values: said.append(text % values))
    following = runner(Query(), 80)
    relay._current, relay._next = runner(Query(), 0), following
    if not answers:
        following._ready_at = None
        monkeypatch.setattr(LiveQuery, "_runs", lambda _: False)
    following.began -= module.PATIENCE_SECONDS + 1
    relay.look()
    relay.look()
    assert len(said) == (not answers), "once, if at all"
    relay.stop()


@pytest.mark.parametrize(("handovers", "due_after"), [(0, 3.5), (3, 6.5)])
def test_a_successor_starts_as_early_as_building_and_starting_the_last_one_took(
    relay: Relay, handovers: int, due_after: float
) -> None:
    """Earlier, both would answer for longer; later, the batch ends before it answers, and messages wait.

    The first is built next to more than the query before it. A batch begins when the tasks of its query run.
    """
    query = runner(Query(), 0)
    query._ready_at = query.began + 0.5
    relay._current, relay.handovers = query, handovers
    query.began, query._ready_at = query.began - due_after + 0.2, query._ready_at - due_after + 0.2
    assert not relay.is_due(query.basis)
    query.began, query._ready_at = query.began - 0.3, query._ready_at - 0.3
    assert relay.is_due(query.basis)
    relay.stop()


@pytest.mark.parametrize(
    ("building", "lasts"), [(0.1, 10.0), (1.0, 34.3), (30.0, 60.0)], ids=["as set", "longer", "the longest"]
)
def test_a_slow_machine_gets_longer_batches_not_decisions_that_wait_at_each_hand_over(
    relay: Relay, building: float, lasts: float
) -> None:
    """A successor that needs longer than a batch came after its end, and messages waited for seconds, each time."""
    assert relay._launcher.batch_seconds(basis(), building, None) == pytest.approx(lasts, abs=0.1)
    relay.stop()


def test_a_batch_is_as_long_as_what_the_query_before_took_to_start_requires(
    relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """Building may be the smaller part of it: planning and tasks come after the length of the batch is set."""
    query = runner(Query(), 0)
    query._ready_at = query.began + 12.5
    relay._current = query
    with caplog.at_level("INFO"):
        lasts = [relay._launcher.batch_seconds(query.basis, 0.3, query)]
        query._ready_at = query.began + 0.5
        lasts.append(relay._launcher.batch_seconds(query.basis, 0.3, query))
        query._ready_at = query.began + 12.5
        lasts.append(relay._launcher.batch_seconds(query.basis, 0.3, query))
    # 1 s of grace, and 1.5 times the 14 s of reading, building and starting, are 70 % of it.
    assert lasts == pytest.approx([31.4, 10.0, 31.4], abs=0.1)
    (said,) = caplog.messages
    assert (
        "takes 14 s to prepare on this machine, so each lives for 31 s, not 10 s: decisions use older" in said
    )
    relay.stop()


def test_without_overlap_a_batch_is_as_long_as_it_is_set(relay: Relay) -> None:
    """Its successor starts only after its end: nothing has to be ready before."""
    score = relay._settings.score.model_copy(update={"overlap": False})
    settings = relay._settings.model_copy(update={"score": score})
    launcher = Launcher(cast("Any", None), settings, Mode.REALTIME, Topic("t", "id", (0,)))
    assert launcher.batch_seconds(basis(), 30.0, None) == 10.0
    relay.stop()
