"""One run of `produce`: which batches, to which sink, at which rate."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from fraudstream.errors import InputError, UsageError
from fraudstream.files import Rejects
from fraudstream.kafka import ensure_topic, message_limit
from fraudstream.logs import get_logger
from fraudstream.mapping import Shape
from fraudstream.metrics import ProduceMonitor
from fraudstream.micros import DAY, Epoch, micros
from fraudstream.producer.delivery import Batch, HalfSent, Report, Sink, deliver, limited
from fraudstream.producer.pace import FASTEST, Pace
from fraudstream.producer.replay import replay
from fraudstream.producer.sender import LINGER_FAST_MS, LINGER_MS, Sender, Undelivered
from fraudstream.producer.simulated import Plan, simulated
from fraudstream.settings import KafkaSettings
from fraudstream.signals import stopping

log = get_logger("producer")

DRY_START = datetime(2025, 1, 1, tzinfo=UTC)
"""Default start of a dry run, so that two runs with the same seed print the same bytes."""
LIVE_RATE = 100.0
"""Default messages per second."""
LAST_START = datetime(9000, 1, 1, tzinfo=UTC)
"""Latest start of a stream, so that its years keep four digits."""

Progress = Callable[[int | None], AbstractContextManager[Callable[[int], object]]]
"""Shows how many messages were accepted; opened with the total, if that is known."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """The command line's options for the simulated world."""

    seed: int
    users: int
    fraud_rate: float
    scenario: str | None = None
    days: float | None = None
    start: datetime | None = None
    history_only: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """The command line's options for a file to replay."""

    path: Path
    shape: Shape
    epoch: Epoch | None = None
    """The unit of timestamps that are numbers."""


class Printer:
    """Standard output as a sink, for dry runs: one message per line."""

    def __init__(self) -> None:
        self._count = 0

    def send(self, keys: list[bytes], values: list[bytes]) -> None:
        """Print these messages and flush, as readers of a slow stream wait for each. Raises OutputError."""
        if not values:
            return
        sys.stdout.buffer.write(b"\n".join(values) + b"\n")
        sys.stdout.buffer.flush()
        self._count += len(keys)

    def close(self) -> tuple[int, int]:
        """Return the count: everything was already flushed."""
        return self._count, 0


def produce(  # noqa: PLR0913 - what a command line says
    source: Simulation | File,
    kafka: KafkaSettings | None,
    *,
    rate: float | None = None,
    count: int | None = None,
    progress: Progress | None = None,
    monitor: ProduceMonitor | None = None,
) -> tuple[Report, Rejects]:
    """Send a simulation or a file to Kafka, or print it if `kafka` is None.

    `rate` is messages a second, FASTEST, or None for the source's default: LIVE_RATE for a live
    stream, as fast as possible for a file or a dry run.

    Raises InputError, BrokerUnreachable, TopicError, Undelivered if messages failed, and HalfSent if the source
    failed after some.
    """
    stop = threading.Event()
    rejects = Rejects()
    rate = rate or _usual_rate(source, dry=kafka is None)
    pace = None if rate in (None, FASTEST) else Pace(float(rate or 0), stop)
    batches = (
        replay(source.path, source.shape, rejects, source.epoch)
        if isinstance(source, File)
        else _simulated(source, rate, pace, dry=kafka is None)
    )
    with stopping(stop):
        sink: Sink = Printer()
        if kafka is not None:
            ensure_topic(kafka, kafka.transactions_topic)
            linger = LINGER_MS if pace else LINGER_FAST_MS
            limit = message_limit(kafka, kafka.transactions_topic)
            sink = sender = Sender(kafka, kafka.transactions_topic, stop, linger_ms=linger, limit=limit)
            if monitor is not None:
                monitor.follow(kafka.transactions_topic, lambda: sender.sent)
        if progress is None:
            report = deliver(limited(batches, count), sink, stop, pace)
        else:
            with progress(count) as advance:
                report = deliver(limited(batches, count), sink, stop, pace, advance)
    _tell(rejects, report, source.path if isinstance(source, File) and count != 0 else None)
    if report.broken is not None:
        raise HalfSent(report, rejects, report.broken) if report.sent + report.failed else report.broken
    if isinstance(sink, Sender) and report.failed:
        raise Undelivered(report.sent, report.failed, report.seconds, sink.reasons)
    bounded = isinstance(source, File) or count is not None or source.history_only
    return replace(report, interrupted=report.interrupted and bounded), rejects


def _usual_rate(source: Simulation | File, *, dry: bool) -> float | None:
    if isinstance(source, File):
        return FASTEST
    return None if dry or source.history_only else LIVE_RATE


def _simulated(source: Simulation, rate: float | None, pace: Pace | None, *, dry: bool) -> Iterator[Batch]:
    from fraudstream.simulate import World

    if dry and rate == FASTEST:
        # A live run at full speed follows the machine's clock, so no two runs would be equal.
        rate = None
    days = source.days
    if source.history_only and days is None:
        raise UsageError("--history-only needs --days N.", hint="For example --days 60.")
    if rate is None and days is None:
        days = float("inf")
    if source.start is not None:
        start = source.start
    else:
        start = DRY_START if dry else datetime.fromtimestamp(time.time(), UTC)
    first = micros(start)
    if source.start is None and not dry:
        first -= round((source.days or 0) * DAY)
    if not 0 <= first <= micros(LAST_START):
        raise UsageError(
            f"A stream starts between 1970 and {LAST_START.year}.", hint="Check --start and --days."
        )
    plan = Plan(
        start=first,
        fraud_rate=source.fraud_rate,
        scenario=source.scenario,
        days=days,
        rate=None if source.history_only else rate,
        by_clock=source.start is None and not dry,
    )
    world = World(source.seed, source.users)
    return simulated(world, plan, (lambda: pace.forgiven) if pace else (lambda: 0.0))


def _tell(rejects: Rejects, report: Report, path: Path | None) -> None:
    """Log which rows of the file at `path` were skipped. Raises InputError if that is all of them, or if it has none."""
    rejects.tell(log)
    if path is None or report.sent + report.failed or report.interrupted or report.broken:
        return
    if not rejects.count:
        raise InputError(f"{path} has no rows.", hint="Give a file with transactions in it.")
    number, reason = rejects.first[0]
    raise InputError(
        f"None of the {rejects.count:,} rows is a transaction; row {number}: {reason}.",
        hint="Check the columns with --map THEIRS=OURS and --fill OURS=VALUE; timestamps that are numbers need --epoch.",
    )
