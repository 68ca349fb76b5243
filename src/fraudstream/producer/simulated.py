"""The simulated stream as batches: history first, then at a rate or as fast as possible."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fraudstream.producer.delivery import Batch
from fraudstream.producer.pace import FASTEST
from fraudstream.simulate import DAY, SECOND, Encoder, Events, Stream, World
from fraudstream.simulate.stream import BLOCK

ASSUMED_FASTEST = 300_000.0
"""Transactions a second assumed for the gaps inside episodes if the rate is `max`."""


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


def simulated(world: World, plan: Plan, forgiven: Callable[[], float] = lambda: 0.0) -> Iterator[Batch]:
    """The messages of a run, endless unless `plan.rate` is None.

    `forgiven` returns by how many seconds the schedule has been shifted, so that the
    time of an event remains the time of its message.
    """
    stream = Stream(world, plan.start, plan.fraud_rate, plan.scenario)
    encoder = Encoder(world, plan.start)
    begun, number = time.monotonic(), 0

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
    # With the default start this is the current time: history ended when the program began, and writing it took a while.
    live = plan.start + round((plan.days or 0) * DAY)
    offset = round((time.monotonic() - begun) * SECOND) if plan.days else 0
    if plan.rate == FASTEST:
        last = live + offset
        while True:
            now = max(live + round((time.monotonic() - begun) * SECOND), last)
            slots = np.linspace(last, now, BLOCK).astype(np.int64)
            yield from batches(stream.steady(slots, ASSUMED_FASTEST), paced=True)
            last = now
    size = int(np.clip(plan.rate, 16, BLOCK))
    done = 0
    while True:
        elapsed = (np.arange(done, done + size) / plan.rate + forgiven()) * SECOND
        yield from batches(stream.steady(live + offset + elapsed.astype(np.int64), plan.rate), paced=True)
        done += size
