"""Decayed counters: nothing depends on the order of arrival, and nothing overflows."""

import math
from functools import partial, reduce
from itertools import pairwise
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream.arrays import Floats, Integers
from fraudstream.features import counters
from fraudstream.features.catalogue import COUNTERS, RUNNERS_UP
from fraudstream.features.events import INSTANT, instants
from fraudstream.features.profiles import SCHEMA, combine

FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # years 1 and 9999 in microseconds
HALF_LIVES = st.sampled_from([600.0, 3_600.0, 86_400.0, 2_592_000.0])
YEAR = 365 * 86_400 * 10**6
# Mostly near each other, so that sums are more than their latest term.
MOMENTS = st.one_of(st.integers(0, YEAR), st.integers(0, 3_600 * 10**6), st.integers(FIRST, LAST))
EVENTS = st.lists(st.tuples(MOMENTS, st.floats(0.01, 1e12)), min_size=1, max_size=40)

Events = list[tuple[int, float]]
State = tuple[Integers, Floats]


def state(events: Events, half_life: float) -> State:
    """The folded state of some events, as arrays of one element."""
    at = np.array([e[0] for e in events], dtype=np.int64)
    value = np.array([e[1] for e in events])
    group = np.zeros(len(events), dtype=np.int64)
    last = counters.latest(at, group, 1)
    return last, counters.fold(counters.weight(counters.seconds(last[group], at), half_life), value, group, 1)


def merged(half_life: float, *states: State) -> State:
    """What the profile of one customer holds after all of these."""
    name = next(name for name, counter in COUNTERS.items() if counter.half_life == half_life)
    nothing = dict.fromkeys((*COUNTERS, *RUNNERS_UP.values()), np.zeros(1))
    whole = combine(
        pa.table(
            {
                "entity": ["user"],
                "key": ["ann"],
                "last_at": pa.array(at).cast(INSTANT),
                **nothing,
                name: value,
            },
            schema=SCHEMA,
        )
        for at, value in states
    )
    return instants(whole["last_at"].combine_chunks()), whole[name].to_numpy()


def same(left: State, right: State) -> None:
    assert left[0] == right[0]
    np.testing.assert_allclose(left[1], right[1], rtol=1e-9)


@given(EVENTS, HALF_LIVES, st.randoms())
def test_the_order_of_arrival_changes_nothing(events: Events, half_life: float, random: Random) -> None:
    shuffled = events.copy()
    random.shuffle(shuffled)
    same(state(events, half_life), state(shuffled, half_life))


@given(EVENTS, HALF_LIVES, st.lists(st.integers(0, 40), max_size=5))
def test_splitting_into_batches_and_merging_them_changes_nothing(
    events: Events, half_life: float, cuts: list[int]
) -> None:
    edges = sorted({0, len(events), *(cut for cut in cuts if cut < len(events))})
    parts = (state(events[begin:end], half_life) for begin, end in pairwise(edges))
    same(reduce(partial(merged, half_life), parts), state(events, half_life))


@given(EVENTS, EVENTS, EVENTS, HALF_LIVES)
def test_merging_is_commutative_and_associative(a: Events, b: Events, c: Events, half_life: float) -> None:
    one, two, three = (state(events, half_life) for events in (a, b, c))
    merge = partial(merged, half_life)
    same(merge(one, two), merge(two, one))
    same(merge(merge(one, two), three), merge(one, merge(two, three)))


@given(EVENTS, HALF_LIVES)
def test_a_fold_equals_the_formula(events: Events, half_life: float) -> None:
    """s(t) is the sum of x times 2 to the power of minus age over half-life, term by term."""
    last, total = state(events, half_life)
    expected = sum(x * 2.0 ** (-(int(last[0]) - t) / 1e6 / half_life) for t, x in events)
    np.testing.assert_allclose(total, expected, rtol=1e-9)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 3), MOMENTS, st.floats(0.01, 1e12)), min_size=1, max_size=60),
    HALF_LIVES,
)
def test_a_scan_equals_adding_one_event_after_the_other(
    events: list[tuple[int, int, float]], half_life: float
) -> None:
    """Groups of any size, times of any size, to 1e-9 of a loop in Python."""
    events.sort(key=lambda event: event[:2])
    group, at, value = (np.array(column) for column in zip(*events, strict=True))
    factor = np.zeros(len(at))
    factor[1:] = np.where(
        group[1:] == group[:-1], counters.weight(counters.seconds(at[1:], at[:-1]), half_life), 0.0
    )
    expected: list[float] = []
    running, name_before, moment_before = 0.0, -1, 0
    for name, moment, x in events:
        decay = 2.0 ** (-(moment - moment_before) / 1e6 / half_life) if name == name_before else 0.0
        running, name_before, moment_before = running * decay + x, name, moment
        expected.append(running)
    np.testing.assert_allclose(counters.scan(factor, value), expected, rtol=1e-9, atol=1e-200)


def test_a_long_skewed_scan_keeps_nine_digits() -> None:
    """One group of 200,000 events; the reference is summed exactly."""
    rng = np.random.default_rng(1)
    at = np.cumsum(rng.integers(0, 60_000_000, 200_000))
    value = rng.lognormal(3, 2, len(at))
    factor = np.concatenate([[0.0], counters.weight(counters.seconds(at[1:], at[:-1]), 86_400.0)])
    terms = value * 2.0 ** (-(at[-1] - at) / 1e6 / 86_400.0)
    assert counters.scan(factor, value)[-1] == pytest.approx(math.fsum(terms), rel=1e-9)


def test_running_maxima_stay_within_their_group() -> None:
    value, group = np.array([5.0, 1.0, 7.0, 2.0, 3.0]), np.array([0, 0, 0, 1, 1])
    assert counters.scan_largest(value, group).tolist() == [5.0, 5.0, 7.0, 2.0, 3.0]


def test_nothing_at_all_scans_to_nothing() -> None:
    assert counters.scan(np.zeros(0), np.zeros(0)).tolist() == []
    assert counters.scan_largest(np.zeros(0), np.zeros(0, dtype=np.int64)).tolist() == []


@given(
    st.lists(st.tuples(st.floats(0.01, 1e12) | st.sampled_from([1.0, 2.0]), st.integers(0, 3)), max_size=30)
)
def test_the_second_largest_is_the_next_one_down_or_as_large_as_the_largest(
    drawn: list[tuple[float, int]],
) -> None:
    value, group = np.array([v for v, _ in drawn]), np.array([g for _, g in drawn], dtype=np.int64)
    first, second = counters.two_largest(value, group, 4)
    for number in range(4):
        found = sorted((v for v, g in drawn if g == number), reverse=True)
        assert [first[number], second[number]] == [*found, 0.0, 0.0][:2]
