"""Histories of tasks over one partition, for tests of the offset protocol: replays, overlaps, deaths."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st

from fraudstream import kafka
from fraudstream.kafka import Messages
from fraudstream.settings import PostgresSettings
from fraudstream.store import offsets
from fraudstream.store.offsets import Source
from fraudstream.store.slices import Outcome, store_slice
from fraudstream.store.targets import select

TOPIC = kafka.Topic("topic", "topic-uuid", (0,))
SOURCE = Source(TOPIC.name, TOPIC.topic_id, 0)


@dataclass
class Step:
    """One task: which targets, which slice in which batches, and whether it dies before it commits."""

    targets: tuple[str, ...]
    begin: int
    length: int
    batch: int
    dies: bool


def steps(*targets: tuple[str, ...]) -> st.SearchStrategy[Step]:
    """Tasks of any of these groups of targets."""
    return st.builds(
        Step,
        targets=st.sampled_from(targets),
        begin=st.integers(0, 12),
        length=st.integers(1, 12),
        batch=st.integers(1, 5),
        dies=st.booleans(),
    )


@dataclass
class Topic:
    """A partition's messages: (offset, kind, id). Offsets may leave gaps, ids may repeat."""

    entries: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The offset after the last message."""
        return self.entries[-1][0] + 1

    def messages(self, first: int, end: int, make: Mapping[str, Callable[[str], bytes]]) -> Messages:
        """Those with first <= offset < end; `make[kind]` writes a message of an id."""
        chosen = [entry for entry in self.entries if first <= entry[0] < end]
        values = [make[kind](name) for _, kind, name in chosen]
        return Messages([offset for offset, _, _ in chosen], [None] * len(chosen), values)


@st.composite
def topics(draw: st.DrawFn, *kinds: str) -> Topic:
    """A dozen messages of these kinds, which may be named several times to come often."""
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=12))
    gaps = draw(st.lists(st.integers(0, 2), min_size=len(chosen), max_size=len(chosen)))
    ids = draw(st.lists(st.sampled_from("abcdefgh"), min_size=len(chosen), max_size=len(chosen)))
    offset, entries = 0, []
    for kind, gap, name in zip(chosen, gaps, ids, strict=True):
        offset += gap
        entries.append((offset, kind, name))
        offset += 1
    return Topic(entries)


def moment(name: str) -> dict[str, Any]:
    """An hour and an amount of this id's own; of some ids an amount that the sums do not take whole."""
    place = "abcdefgh".index(name)
    return {
        "timestamp": f"2025-03-01T{place // 2:02}:59:59Z",
        "amount": 1e300 if place == 7 else place + 0.25,
    }


def run_history(
    postgres: PostgresSettings, topic: Topic, history: list[Step], make: Mapping[str, Callable[[str], bytes]]
) -> list[Outcome]:
    """What each task that lived did.

    A slice begins where Spark may begin it: at or below what its targets have, as `expected` demands.
    """
    outcomes = []
    for step in history:
        at = offsets.begin(postgres, step.targets, TOPIC, {0: 0})
        begin = min(step.begin, *at.values())
        batches = [
            topic.messages(first, min(first + step.batch, begin + step.length), make)
            for first in range(begin, begin + step.length, step.batch)
        ]
        targets = select(step.targets)
        if step.dies:
            with pytest.raises(ConnectionResetError):
                store_slice(postgres, SOURCE, targets, {}, dying(batches))
        else:
            expected = {target: at[target, 0] for target in step.targets}
            outcomes.append(store_slice(postgres, SOURCE, targets, expected, batches))
    return outcomes


def dying(batches: list[Messages]) -> Iterator[Messages]:
    """The batches of a task that dies before it commits."""
    yield from batches
    raise ConnectionResetError
