"""What the scorer remembers beside its stream: the newest profiles, and none of those before."""

import gc
import tempfile
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import sklearn

from fraudstream.features.profiles import SCHEMA
from fraudstream.kafka import Topic
from fraudstream.metrics import Standing
from fraudstream.model.artifact import Model
from fraudstream.settings import Settings
from fraudstream.spark import keeper as keepers
from fraudstream.spark.keeper import Keeper
from fraudstream.spark.scoring import Scoring
from fraudstream.store import registry
from fraudstream.store.connection import connect
from fraudstream.store.profiles import merge
from live_scorer import promote
from model_world import ensemble, packed
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

pytestmark = pytest.mark.usefixtures("postgres")


@pytest.fixture
def by_itself() -> "Iterator[None]":
    """Python's collector comes when it likes, in a process as large as a driver hardly ever: not at all here."""
    gc.disable()
    yield
    gc.enable()


def started(spark: "SparkSession", settings: Settings, champion: str) -> Keeper:
    """A keeper of the profiles of a new champion; who starts it closes it."""
    promote(settings.postgres, champion)
    return Keeper(settings.postgres, lambda model: Scoring(spark, model), registry.opened(settings.postgres))


@pytest.mark.usefixtures("by_itself")
def test_profiles_that_no_query_uses_any_more_are_let_go(spark: "SparkSession", settings: Settings) -> None:
    """Python's handles on Java's tables point at themselves: uncollected, every hand-over kept a copy of all profiles in the JVM."""
    keeper = started(spark, settings, "first")
    first = [weakref.ref(frame._jdf) for frame in keeper.basis.profiles.frames.values()]
    assert all(frame.columns and frame.schema for frame in keeper.basis.profiles.frames.values())
    try:
        for _ in range(2):
            before = keeper.basis
            keeper.ask()
            wait_until(lambda: not keeper.is_asked, "newer profiles")
            assert keeper.basis is not before
        del before
    finally:
        keeper.close()
    assert first
    assert not any(frame() for frame in first)


def test_profiles_stay_new_though_the_champion_was_altered(spark: "SparkSession", settings: Settings) -> None:
    """Its bytes are damaged, PostgreSQL is not away: the model goes on, with the profiles of the moment."""
    keeper = started(spark, settings, "sound")
    try:
        registry.register(settings.postgres, *packed("damaged", ensemble(("amount", 100.0, -3.0, 3.0))))
        with connect(settings.postgres) as connection:
            connection.execute(
                "update shop.models set artifact = set_byte(artifact, 3, 255) where version = 'damaged'"
            )
        registry.promote(settings.postgres, "damaged")
        before = keeper.basis.profiles
        keeper.ask()
        wait_until(lambda: not keeper.is_asked, "newer profiles")
        assert keeper.basis.profiles is not before
        assert keeper.basis.scoring.model.version == "sound"
        assert not keeper.is_away
    finally:
        keeper.close()


def test_a_champion_whose_artifact_is_restored_takes_effect_without_a_restart(
    spark: "SparkSession", settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """As `models list` advises. The scorer kept the model before it, though `models list` named the new one."""

    def write(change: str) -> None:
        with connect(settings.postgres) as connection:
            connection.execute(
                f"update shop.models set artifact = {change} where version = 'second'".encode()
            )

    keeper = started(spark, settings, "first")
    try:
        registry.register(settings.postgres, *packed("second", ensemble(("amount", 100.0, -3.0, 3.0))))
        write("artifact || 'x'::bytea")
        registry.promote(settings.postgres, "second")
        wait_until(lambda: "Keeping model first: " in caplog.text, "refusal")
        keeper.ask()
        wait_until(lambda: not keeper.is_asked, "newer profiles")
        assert caplog.text.count("Keeping model first: ") == 1
        write("substr(artifact, 1, length(artifact) - 1)")
        wait_until(lambda: keeper.basis.scoring.model.version == "second", "promotion")
    finally:
        keeper.close()


def test_profiles_that_cannot_be_loaded_just_now_are_told_once_and_loaded_later(
    spark: "SparkSession",
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A full disk, or no room in Java for one more copy: the query that runs decides on with those that it has.

    All profiles are read for each attempt, so they become rarer. Nobody says that PostgreSQL is away meanwhile.
    """
    monkeypatch.setattr(keepers, "CHAMPION_SECONDS", 0.1)
    keeper = started(spark, settings, "sound")
    profiles, tries = Scoring.profiles, list[float]()

    def load(scoring: Scoring, *given: Any) -> Any:
        tries.append(time.monotonic())
        if len(tries) < 5:
            raise OSError(28, "No space left on device")
        return profiles(scoring, *given)

    def asked(*, until: Callable[[], bool]) -> bool:
        keeper.ask()
        return until()

    try:
        before = keeper.basis.profiles
        monkeypatch.setattr(Scoring, "profiles", load)
        wait_until(lambda: asked(until=lambda: bool(tries)), "an attempt")
        keeper._away = True  # for a moment, and it answers again
        wait_until(lambda: not keeper.is_away, "word of its return")
        assert keeper.basis.profiles is before
        wait_until(lambda: asked(until=lambda: keeper.basis.profiles is not before), "newer profiles")
    finally:
        keeper.close()
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    said = [message for message in warnings if "could not be loaded" in message]
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert tries[4] - tries[3] >= 0.8


def test_a_promoted_model_that_cannot_be_prepared_just_now_is_told_and_tried_again(
    spark: "SparkSession",
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """Java's memory, or a disk: the scorer goes on with the model that it has and newer profiles, and follows later."""
    monkeypatch.setattr(keepers, "CHAMPION_SECONDS", 0.1)
    monkeypatch.setattr(keepers, "LONGEST_PAUSE_SECONDS", 0.5)
    promote(settings.postgres, "first")
    tries: list[str] = []

    def ready(model: Model) -> Scoring:
        tries.append(model.version)
        if tries.count("second") == 1:
            spark.sparkContext._jvm.java.lang.Integer.parseInt("no room")  # type: ignore[union-attr]
        return Scoring(spark, model)

    keeper = Keeper(settings.postgres, ready, registry.opened(settings.postgres))
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
        promote(settings.postgres, "second")
        wait_until(lambda: tries.count("second") > 3, "fourth attempt")
        before = keeper.basis.profiles
        keeper.ask()
        wait_until(lambda: keeper.basis.profiles is not before, "newer profiles")
        assert keeper.basis.scoring.model.version == "first"
        monkeypatch.setattr(tempfile, "tempdir", None)
        wait_until(lambda: keeper.basis.scoring.model.version == "second", "promotion")
        keeper.ask()
    finally:
        keeper.close()
    told = [
        message for message in caplog.messages if "Keeping model first: model second could not be" in message
    ]
    assert len(told) == 2, "each kind once"
    assert "NumberFormatException" in told[0]
    assert "No such file or directory" in told[1]


def pickled(version: str) -> tuple[dict[str, Any], bytes]:
    """A model without trees, whose estimator could be opened here."""
    return packed(version, None, versions={"scikit-learn": sklearn.__version__})


@pytest.mark.parametrize("by_lookup", [False, True], ids=["broadcast", "lookup"])
def test_a_running_stream_that_began_with_trees_opens_no_estimator_that_is_promoted(
    spark: "SparkSession", settings: Settings, caplog: pytest.LogCaptureFixture, *, by_lookup: bool
) -> None:
    """A pickle runs code: who may promote a model must not run it as the stream, without anybody starting anything."""
    promote(settings.postgres, "trees")
    ask = settings.postgres if by_lookup else None
    opened: list[str] = []

    def ready(model: Model) -> Scoring:
        opened.append(model.version)
        return Scoring(spark, model, python=True, ask=ask)

    keeper = Keeper(settings.postgres, ready, registry.opened(settings.postgres))
    try:
        registry.register(settings.postgres, *pickled("pickled"))
        registry.promote(settings.postgres, "pickled")
        wait_until(lambda: "Keeping model trees: " in caplog.text, "warning")
        keeper.ask()
        wait_until(lambda: not keeper.is_asked, "newer profiles")
        assert keeper.basis.scoring.model.version == "trees"
        promote(settings.postgres, "newer")
        wait_until(lambda: keeper.basis.scoring.model.version == "newer", "promotion")
    finally:
        keeper.close()
    assert opened == ["trees", "newer"]
    assert caplog.text.count("restart `fraudstream score --mode microbatch`") == 1


def test_a_stream_that_was_started_on_an_estimator_follows_estimators(
    spark: "SparkSession", settings: Settings
) -> None:
    registry.register(settings.postgres, *pickled("pickled"))
    registry.promote(settings.postgres, "pickled")
    keeper = Keeper(
        settings.postgres,
        lambda model: Scoring(spark, model, python=True),
        registry.opened(settings.postgres),
    )
    try:
        registry.register(settings.postgres, *pickled("pickled again"))
        registry.promote(settings.postgres, "pickled again")
        wait_until(lambda: keeper.basis.scoring.model.version == "pickled again", "promotion")
    finally:
        keeper.close()


def test_a_keeper_whose_database_hangs_is_left_behind(
    spark: "SparkSession",
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It reads profiles for as long as that takes; a stop does not wait for it."""
    monkeypatch.setattr(keepers, "_CLOSING_SECONDS", 1.0)
    keeper = started(spark, settings, "first")
    with connect(settings.postgres) as holder:
        holder.execute("lock table shop.profiles")
        keeper.ask()
        waiting = "select from pg_locks where not granted and relation = 'shop.profiles'::regclass"
        wait_until(lambda: bool(holder.execute(waiting).fetchall()), "reader that waits for the lock")
        keeper.close()
    assert "PostgreSQL does not answer" in caplog.text


def test_locked_profiles_are_said_once_and_their_return_once(
    spark: "SparkSession",
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What else PostgreSQL answered meanwhile was taken for its return, every few seconds."""
    caplog.set_level("INFO")
    monkeypatch.setattr(keepers, "CHAMPION_SECONDS", 0.1)
    keeper = started(spark, settings, "first")
    topic, written = Topic("payments", "id", (0,)), "select next_offset from shop.stream_progress"
    try:
        with connect(settings.postgres) as holder, connect(settings.postgres, autocommit=True) as watcher:
            holder.execute("lock table shop.profiles")
            for offset in (1, 2):
                keeper.ask()
                wait_until(lambda: not keeper.is_asked, "attempt to read profiles")
                keeper.save(topic, Standing(topic.name, {0: offset}, {0: offset}, 0.0))
                there = [(offset,)]
                wait_until(partial(lambda rows: watcher.execute(written).fetchall() == rows, there), "it")
            assert keeper.is_away
        wait_until(lambda: not keeper.is_away, "profiles")
    finally:
        keeper.close()
    assert sum("Scoring continues with the profiles of" in message for message in caplog.messages) == 1
    assert caplog.messages.count("PostgreSQL answers again") == 1


def test_a_model_that_meets_other_labels_than_it_learned_from_is_told_once(
    spark: "SparkSession", settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Chargebacks are loaded while it scores; a scorer that asks for profiles batch by batch sees them at its start."""
    trees = ensemble(("merchant_risk_30d", 0.1, -1.0, 1.0))
    training = {"rows": 100_000, "judged": 100_000, "frauds": 500}
    registry.register(settings.postgres, *packed("m-1", trees, training=training))
    registry.promote(settings.postgres, "m-1")
    model, told = registry.opened(settings.postgres), "100.00% of those in live profiles"
    keeper = Keeper(settings.postgres, lambda model: Scoring(spark, model), model)
    try:
        assert told not in caplog.text
        with connect(settings.postgres) as connection:
            everybody = dict.fromkeys(SCHEMA.names, 0.0) | {
                "entity": "total",
                "key": "",
                "last_at": datetime.now(UTC),
            }
            labels = {"fraud_30d": 300.0, "labelled_30d": 300.0}
            merge(connection.cursor(), pa.Table.from_pylist([everybody | labels], SCHEMA))
        for _ in range(2):
            keeper.ask()
            wait_until(lambda: not keeper.is_asked, "newer profiles")
    finally:
        keeper.close()
    assert caplog.text.count(told) == 1
    Keeper(settings.postgres, lambda model: Scoring(spark, model, ask=settings.postgres), model).close()
    assert caplog.text.count(told) == 2
