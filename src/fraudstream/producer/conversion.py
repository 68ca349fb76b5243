"""Converts another topic's messages as they arrive: reads, sends them on as transactions, and records how far it is.

At least once: the position is recorded in PostgreSQL, as those of all streams, after Kafka has acknowledged what was sent.
After a kill, some messages are sent again; their rows exist by then, and count as duplicates.
"""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from fraudstream.errors import DeliveryError, UsageError
from fraudstream.kafka import bounds, ensure_topic, message_limit
from fraudstream.logs import get_logger
from fraudstream.metrics import ConvertMonitor
from fraudstream.producer.arrival import WAIT_SECONDS, arriving
from fraudstream.producer.delivery import Batch, deliver
from fraudstream.producer.forms import Form
from fraudstream.producer.positions import STREAM, Positions, source_topic
from fraudstream.producer.proof import Read, proven, read
from fraudstream.producer.run import Printer
from fraudstream.producer.sender import LARGEST, LINGER_MS, Sender, Undelivered
from fraudstream.settings import KafkaSettings, PostgresSettings
from fraudstream.signals import stopping
from fraudstream.store import offsets, resumption

log = get_logger("convert")

_NAME: Final = re.compile(r"[\w-]{1,50}", re.ASCII)
NARRATE_SECONDS: Final = 5.0
"""Between two lines of the log about the progress, as in `consume`."""


@dataclass(frozen=True, slots=True)
class Start:
    """How a conversion begins. Raises UsageError if its name is none."""

    name: str | None = None
    """Of this conversion, if its topic has several: each has positions of its own."""
    from_end: bool = False
    """Whether the first run begins with the next message."""
    accept_loss: bool = False
    once: bool = False
    """Whether it ends where the partitions end now."""
    pass_on: bool = False
    """Whether what cannot be converted is passed on although nothing could be converted yet."""

    def __post_init__(self) -> None:
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise UsageError(
                f"--name {self.name!r} must be one word of letters, digits, hyphens and underscores.",
                hint="For example refunds.",
            )

    @property
    def stream(self) -> str:
        """The name of its positions."""
        return f"{STREAM} {self.name}" if self.name else STREAM


@dataclass(slots=True)
class Conversion:
    """What has been done so far, in messages."""

    converted: int = 0
    unreadable: int = 0
    """Passed on as they are, for `shop.rejected`."""
    skipped: int = 0
    seconds: float = 0.0
    interrupted: bool = False


def convert(  # noqa: PLR0913 - what a command line says
    name: str,
    form: Form,
    kafka: KafkaSettings,
    postgres: PostgresSettings,
    *,
    start: Start,
    monitor: ConvertMonitor,
) -> Conversion:
    """Convert the messages of a topic until Ctrl-C, or until it has caught up.

    The first run begins with the first message that Kafka has or with the next one; later ones go on. Nothing is sent
    until one message could be converted (`proof`).

    Raises TopicError, UsageError, MessagesLost, BrokerUnreachable, DatabaseError, DeliveryError (Undelivered), InputError.
    """
    topic, stream = source_topic(kafka, name), start.stream
    is_new = not offsets.known(postgres, stream, topic)
    places = resumption.begin(
        *(kafka, postgres, topic, [stream]),
        accepting="the same command with --accept-loss",
        accept_loss=start.accept_loss,
        new="end" if start.from_end else "first",
    )
    ensure_topic(kafka, kafka.transactions_topic, like=name)
    stop = threading.Event()
    limit = message_limit(kafka, kafka.transactions_topic)
    sender = Sender(kafka, kafka.transactions_topic, stop, linger_ms=LINGER_MS, largest=LARGEST, limit=limit)
    reached = {partition: offset for (_, partition), offset in places.items()}
    # A run that ended because nothing could be converted has left its first positions: zeros, where nothing was deleted.
    is_new |= not any(reached.values())
    positions = Positions(kafka, postgres, topic, reached, stream=stream, patience_seconds=monitor.patience)
    log.info(
        "converting %s, %d partitions, into %s, from %s",
        *(name, len(reached), kafka.transactions_topic),
        ("its next message" if start.from_end else "its beginning")
        if is_new
        else "where the last run stopped",
    )
    run = _Run(positions, sender, monitor, stream, stop)
    with stopping(stop):
        found = read(form, arriving(positions, stop, once=start.once))
        report = deliver(
            run.batches(found if start.pass_on else proven(found, stop, is_new=is_new)), sender, stop
        )
    run.note()
    run.done.seconds, run.done.interrupted = report.seconds, report.interrupted and start.once
    if report.broken is not None:
        raise report.broken
    if run.refused is not None:
        raise DeliveryError(
            f"{run.refused} is not accepted by {kafka.transactions_topic}: {'; '.join(sender.reasons)}.",
            hint=f"Raise max.message.bytes of {kafka.transactions_topic}. What came before it is sent; it goes on there.",
        )
    if report.failed:
        raise Undelivered(report.sent, report.failed, report.seconds, sender.reasons)
    positions.save(last=True)
    return run.done


def preview(name: str, form: Form, kafka: KafkaSettings, postgres: PostgresSettings, count: int) -> None:
    """Print the first `count` messages as they would be sent, and report those that cannot be converted; sends nothing.

    Raises TopicError, UsageError, BrokerUnreachable; InputError if none can be converted.
    """
    topic = source_topic(kafka, name)
    first = {partition: bound.first for partition, bound in bounds(kafka, topic).items()}
    printer, stop = Printer(), threading.Event()
    printed = skipped = 0
    with (
        stopping(stop),
        closing(arriving(Positions(kafka, postgres, topic, first), stop, once=True)) as found,
    ):
        for one in proven(read(form, found), stop, is_new=True):
            made = [v for n, v in enumerate(one.portion.batch.values) if n not in one.portion.passed_on]
            printer.send([], made[: count - printed])
            printed += one.portion.converted
            skipped += one.portion.skipped
            if printed >= count:
                break
    if not printed and not stop.is_set():
        log.warning("%s has %s", name, "only messages without a value" if skipped else "no messages yet")


class _Run:
    """The messages of the topic on their way: read, converted, counted."""

    def __init__(
        self,
        positions: Positions,
        sender: Sender,
        monitor: ConvertMonitor,
        stream: str,
        stop: threading.Event,
    ) -> None:
        self._positions, self._sender = positions, sender
        self._monitor, self._stream, self._stop = monitor, stream, stop
        self._offered = 0
        self._last = Read()
        """What was read last, until the client has taken it."""
        self._told_at = time.monotonic()
        self._told = 0
        self.done = Conversion()
        self.refused: str | None = None
        """The large message that Kafka did not accept."""

    def batches(self, found: Iterator[Read]) -> Iterator[Batch]:
        """Converted messages; their positions are recorded once they were sent."""
        self._monitor.begun(self._stream)
        try:
            for one in found:
                # A large one by itself, so that nothing else fails with it, or is sent again at each start.
                if one.is_large and not self._settled(save=False):
                    return
                self._last = one
                if one.portion.batch.values:
                    self._offered += len(one.portion.batch.values)
                    yield one.portion.batch
                if one.is_large and not self._settled(save=False):
                    if self._sender.refuses_size:
                        self.refused = one.where
                        self._positions.save()  # of what came before it
                    return
                if not self.note():
                    return
                if self._positions.is_time:
                    self._settled()
                if self._sender.failed:  # no position behind it would be recorded any more
                    return
        finally:
            self._monitor.ended(self._stream)

    def note(self) -> bool:
        """Count what was read last; False if a stop came, and the client had no room for it."""
        if self._sender.sent.taken < self._offered:
            return False
        one, self._last = self._last, Read()
        self._positions.reached |= one.reached
        self._positions.seen |= one.seen
        portion, unreadable = one.portion, len(one.unfit)
        self.done.converted += portion.converted
        self.done.skipped += portion.skipped
        self.done.unreadable += unreadable
        self._monitor.counted(portion.converted, unreadable, portion.skipped)
        held = (
            f"{one.held:,} messages that cannot be converted are held back until one can."
            if one.held
            else None
        )
        self._monitor.remark(self._stream, held)
        self._tell()
        return True

    def _settled(self, *, save: bool = True) -> bool:
        """Wait until Kafka has acknowledged everything, then record the position; False if it does not, or a stop came.

        However long that takes: a topic that is slower than its source would otherwise never see one recorded.
        """
        while not self._sender.settled(WAIT_SECONDS):
            if self._sender.failed or self._stop.is_set():
                return False
            self._positions.look()
            self._tell()
        if save:
            self._positions.save()
        return True

    def _tell(self) -> None:
        """Tell monitoring where the stream is, or why it cannot be there."""
        trouble = self._positions.trouble
        if trouble is None:
            self._monitor.stands(self._stream, self._positions.standing)
        else:
            self._monitor.lost(self._stream, trouble, 0.0)
        self._positions.report()
        self._narrate()

    def _narrate(self) -> None:
        done, now = self.done, time.monotonic()
        if now < self._told_at + NARRATE_SECONDS:
            return
        seen = done.converted + done.skipped + done.unreadable
        if seen != self._told:
            log.info(
                "%s converted, %s skipped, %s passed on as they are",
                *(f"{count:,}" for count in (done.converted, done.skipped, done.unreadable)),
            )
        self._told, self._told_at = seen, now
