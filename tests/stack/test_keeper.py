"""What the scorer remembers beside its stream: the newest profiles, and none of those before."""

import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from fraudstream.settings import Settings
from fraudstream.spark.keeper import Keeper, load_champion
from fraudstream.spark.scoring import Scoring
from fraudstream.store.migrate import migrate
from live_scorer import promote
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession


@pytest.fixture
def by_itself() -> "Iterator[None]":
    """Python's collector comes when it likes, in a process as large as a driver hardly ever: not at all here."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("by_itself")
def test_profiles_that_no_query_uses_any_more_are_let_go(spark: "SparkSession", settings: Settings) -> None:
    """Python's handles on Java's tables point at themselves: uncollected, every hand-over kept a copy of all profiles in the JVM."""
    migrate(settings.postgres)
    promote(settings.postgres, "first")
    keeper = Keeper(settings.postgres, lambda model: Scoring(spark, model), load_champion(settings.postgres))
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
