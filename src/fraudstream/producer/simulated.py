"""The simulated stream as batches: history first, then at a rate or as fast as possible."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fraudstream.arrays import Integers
from fraudstream.micros import DAY, SECOND
from fraudstream.producer.delivery import Batch
from fraudstream.producer.pace import FASTEST, FORGIVEN, elapsing
from fraudstream.simulate import Encoder, Events, Stream, World
from fraudstream.simulate.stream import BLOCK

ASSUMED_FASTEST = 300_000.0
"""Transactions a second assumed if the rate is `max`: for the gaps inside episodes, and for times that are not the clock's."""
_PART_SECONDS = 0.1
"""Messages are encoded for this long at once, or one by one: a pause finds no more that have their times already."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a simulated run."""

    start: int
    """The earliest possible time, in microseconds since 1970."""
    fraud_rate: float
    scenario: str | None = None
    days: float | None = None
    """Days of history at the population's own rate; inf for history only."""
    rate: float | None = 100.0
    """Transactions a second after the history; FASTEST; None to end there."""
    by_clock: bool = True
    """Whether live times are the machine's. Otherwise a run has the same ones each time, whatever delays it."""


def simulated(
    world: World,
    plan: Plan,
    forgiven: Callable[[], float] = lambda: 0.0,
    clock: Callable[[], float] = elapsing,
) -> Iterator[Batch]:
    """The messages of a run, endless unless `plan.rate` is None.

    `forgiven` returns by how many seconds the schedule has been shifted, so that the
    time of an event remains the time of its message, if that is `by_clock`.
    """
    stream = Stream(world, plan.start, plan.fraud_rate, plan.scenario)
    encoder = Encoder(world, plan.start, f"{plan.fraud_rate}/{plan.scenario}/{plan.rate}/{plan.days}")
    begun, number = clock(), 0

    def batches(events: Events, *, paced: bool) -> Iterator[Batch]:
        nonlocal number
        for begin in range(0, len(events), BLOCK):
            part = events[begin : begin + BLOCK]
            yield Batch(*encoder.encode(part, number), paced)
            number += len(part)

    if plan.days is not None:
        for day in stream.history(plan.days):
            yield from batches(day, paced=False)
    if plan.rate is None:
        return
    # The clock's time by now: history ended when the program began, and writing it took a while.
    live = plan.start + round((plan.days or 0) * DAY)
    offset = round((clock() - begun) * SECOND) if plan.days and plan.by_clock else 0
    if plan.rate == FASTEST:
        by_clock = _up_to(lambda: live + round((clock() - begun) * SECOND), live + offset)
        for slots in by_clock if plan.by_clock else _evenly(live, ASSUMED_FASTEST):
            yield from batches(stream.steady(slots, ASSUMED_FASTEST), paced=True)
    else:
        for part in _on_schedule(
            stream, plan.rate, live + offset, forgiven if plan.by_clock else lambda: 0.0
        ):
            yield from batches(part, paced=True)


def _on_schedule(stream: Stream, rate: float, begin: int, forgiven: Callable[[], float]) -> Iterator[Events]:
    """Transactions at a rate, endless, in small parts: a pause while one is sent shifts the times of the next."""
    size, at_once = int(np.clip(rate, 16, BLOCK)), max(1, int(rate * _PART_SECONDS))
    for due in _evenly(begin, rate, size):
        events = stream.steady(due + round(forgiven() * SECOND), rate)
        for first in range(0, size, at_once):
            part = slice(first, first + at_once)
            events["at"][part] = due[part] + round(forgiven() * SECOND)
            yield events[part]


def _evenly(begin: int, rate: float, size: int = BLOCK) -> Iterator[Integers]:
    """Times of block after block of this size, endless, at a rate."""
    for done in itertools.count(0, size):
        yield begin + (np.arange(done, done + size) / rate * SECOND).astype(np.int64)


def _up_to(now: Callable[[], int], begin: int) -> Iterator[Integers]:
    """Times of block after block, endless: each from the end of the last, or FORGIVEN seconds ago, to now."""
    last = begin
    while True:
        end = max(now(), last)
        yield np.linspace(max(last, end - round(FORGIVEN * SECOND)), end, BLOCK).astype(np.int64)
        last = end
