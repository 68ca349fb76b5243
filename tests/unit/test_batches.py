"""Micro-batches follow the sink: smaller where PostgreSQL is slow, larger again when it is quick."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.settings import Settings
from fraudstream.spark.batches import FEWEST, BatchSize, Resized
from fraudstream.spark.consume import patience

MOST, SECONDS = 200_000, 30.0


def settle(size: BatchSize, pace: float, batches: int = 20) -> int:
    """How often the size changes while a full topic is stored at `pace` messages a second."""
    changes = 0
    for _ in range(batches):
        try:
            size.follow(size.limit, size.limit / pace)
        except Resized:
            changes += 1
    return changes


def test_a_quick_sink_is_trusted_with_full_batches_after_two_small_ones() -> None:
    size = BatchSize(MOST, SECONDS)
    assert settle(size, pace=100_000) == 2
    assert size.limit == MOST
    assert settle(size, pace=100_000) == 0


def test_a_stream_that_a_supervisor_restarts_stores_something_even_if_postgres_is_slow() -> None:
    """Its first batch took too long for monitoring, and the next start planned the same one again: for ever."""
    settings = Settings(_env_file=None)
    size = BatchSize(settings.spark.rows_per_batch, settings.spark.batch_seconds)
    assert size.limit / 300 < patience(settings)


def test_a_batch_that_takes_too_long_is_followed_by_ones_that_take_half_of_the_time() -> None:
    size = BatchSize(MOST, SECONDS)
    settle(size, pace=100_000)
    with pytest.raises(
        Resized, match=r"200,000 messages took 400\.0 s: the next ones will have 7,500 at most"
    ):
        size.follow(MOST, 400.0)
    assert settle(size, pace=500) == 0


def test_batches_grow_again_step_by_step_when_the_sink_has_recovered() -> None:
    size = BatchSize(MOST, SECONDS)
    settle(size, pace=100)
    assert size.limit == 1_500
    assert settle(size, pace=100_000) == 4
    assert size.limit == MOST


def test_a_small_batch_says_nothing_of_a_quick_sink_but_all_of_a_slow_one() -> None:
    size = BatchSize(MOST, SECONDS)
    settle(size, pace=100)
    size.follow(100, 0.1)
    assert size.limit == 1_500
    with pytest.raises(Resized):
        size.follow(1_500, 31.0)
    assert size.limit == FEWEST


def test_a_setting_below_the_fewest_is_kept() -> None:
    size = BatchSize(10, SECONDS)
    size.follow(10, 100.0)
    assert size.limit == 10


@given(
    most=st.integers(1, 10_000_000),
    seconds=st.floats(0.001, 1e4),
    batches=st.lists(st.tuples(st.integers(0, 10_000_000), st.floats(1e-6, 1e6)), max_size=20),
)
def test_no_history_of_batches_leaves_the_bounds(
    most: int, seconds: float, batches: list[tuple[int, float]]
) -> None:
    size = BatchSize(most, seconds)
    for messages, took in batches:
        before = size.limit
        try:
            size.follow(messages, took)
        except Resized:
            assert size.limit != before
        else:
            assert size.limit == before
        assert min(FEWEST, most) <= size.limit <= most


@given(pace=st.floats(1, 1e6), limit=st.integers(1, MOST))
def test_a_steady_pace_settles(pace: float, limit: int) -> None:
    """Each change ends the query, so a size that swung to and fro would cost more than it gives."""
    size = BatchSize(MOST, SECONDS)
    size.limit = limit
    settle(size, pace)
    assert settle(size, pace) == 0
