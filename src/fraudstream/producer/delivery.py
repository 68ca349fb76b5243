"""Delivers batches of messages to a sink, with counts, a limit and a clean end."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from fraudstream.errors import InputError
from fraudstream.files import Rejects
from fraudstream.producer.pace import Pace


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages in order: a key and a value for each."""

    keys: list[bytes]
    values: list[bytes]
    paced: bool = True
    """False for history, which is written as fast as possible, whatever the rate."""

    def part(self, begin: int, end: int) -> "Batch":
        """The messages from `begin` to `end`."""
        return Batch(self.keys[begin:end], self.values[begin:end], self.paced)


class Sink(Protocol):
    """Where messages go."""

    def send(self, keys: list[bytes], values: list[bytes]) -> None:
        """Accept these messages, in order; may wait until there is room."""

    def close(self) -> tuple[int, int]:
        """Wait for the result of every message; returns how many were acknowledged and how many were not."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run."""

    sent: int
    """Messages that the sink has acknowledged."""
    failed: int
    """Messages that the sink accepted and did not acknowledge."""
    seconds: float
    interrupted: bool
    """Whether it was stopped before its work was done."""
    broken: InputError | None = None
    """Why the source failed, if it did."""

    def document(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "sent": self.sent,
            "failed": self.failed,
            "seconds": round(self.seconds, 3),
            "rate": round(self.sent / self.seconds, 1) if self.seconds else 0.0,
            "interrupted": self.interrupted,
        }


class HalfSent(InputError):
    """A source failed half way; the message says how many messages were sent before that."""

    def __init__(self, report: Report, rejects: Rejects, cause: InputError) -> None:
        super().__init__(
            f"{cause.message} {report.sent:,} messages were sent before that.",
            hint="Recreate the file and send all of it: rows already stored count as duplicates.",
            figures=report.document() | rejects.document(),
        )


def limited(batches: Iterable[Batch], count: int | None) -> Iterator[Batch]:
    """The first `count` messages, or all of them for None."""
    left = count
    if left == 0:
        return
    for batch in batches:
        if left is None or len(batch.values) < left:
            yield batch
            left = None if left is None else left - len(batch.values)
        else:
            yield batch.part(0, left)
            return


def deliver(
    batches: Iterable[Batch],
    sink: Sink,
    stop: threading.Event,
    pace: Pace | None = None,
    progress: Callable[[int], object] = lambda _count: None,
) -> Report:
    """Send all batches, at `pace` if there is one, and wait for the result of every message.

    `stop` ends it after the messages that were already accepted, whose number `progress` gets. A source that
    fails ends it, too: earlier messages are sent and counted.
    """
    begun = time.monotonic()
    broken = None
    try:
        for batch in batches:
            if pace is None or not batch.paced:
                sink.send(batch.keys, batch.values)
                progress(len(batch.values))
            else:
                for begin, end in pace.portions(len(batch.values)):
                    sink.send(batch.keys[begin:end], batch.values[begin:end])
                    progress(end - begin)
            if stop.is_set():
                break
    except InputError as error:
        broken = error
    finally:
        interrupted = stop.is_set()
        sent, failed = sink.close()
    return Report(sent, failed, time.monotonic() - begun, interrupted, broken)
