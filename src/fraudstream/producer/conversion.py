"""Converts another topic's messages as they arrive: reads, sends them on as transactions, and records how far it is.

At least once: the position is recorded in PostgreSQL, as those of all streams, after Kafka has acknowledged what was sent.
After a kill, some messages are sent again; their rows exist by then, and count as duplicates.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fraudstream.errors import InputError
from fraudstream.kafka import bounds, ensure_topic
from fraudstream.logs import get_logger
from fraudstream.metrics import ConvertMonitor
from fraudstream.producer.arrival import WAIT_SECONDS, arriving
from fraudstream.producer.delivery import Batch, deliver
from fraudstream.producer.forms import Form, Original, Portion, paths
from fraudstream.producer.positions import STREAM, Positions, source_topic
from fraudstream.producer.run import Printer
from fraudstream.producer.sender import LARGEST, LINGER_MS, Sender, Undelivered
from fraudstream.settings import KafkaSettings, PostgresSettings
from fraudstream.signals import stopping
from fraudstream.store import offsets, resumption

if TYPE_CHECKING:
    from confluent_kafka import Message

log = get_logger("convert")

TOLD: Final = 5
"""Messages that cannot be converted which are reported one by one."""
ENOUGH: Final = 100
"""Messages of which none can be converted, after which the form is considered wrong: one may be a test of somebody's."""
MOST_HELD: Final = 10_000
"""Messages that are held back. Among so many, fewer than ENOUGH payments that cannot be converted are nothing unusual."""
NARRATE_SECONDS: Final = 5.0
"""Between two lines of the log about the progress, as in `consume`."""
NOTHING: Final = Portion(Batch([], []), {}, frozenset(), 0)


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
    from_end: bool = False,
    accept_loss: bool = False,
    once: bool = False,
    monitor: ConvertMonitor | None = None,
) -> Conversion:
    """Convert the messages of a topic until Ctrl-C; with `once` until the end of every partition was reached.

    The first run begins with the first message that Kafka has or, with `from_end`, with the next one; later ones go on.
    Raises TopicError, UsageError, MessagesLost, BrokerUnreachable, DatabaseError, Undelivered; InputError if nothing that
    a first run reads can be converted, as all of it would be rejected.
    """
    topic = source_topic(kafka, name)
    is_new = not offsets.known(postgres, STREAM, topic)
    places = resumption.begin(
        *(kafka, postgres, topic, [STREAM]),
        command=f"fraudstream convert {name}",
        accept_loss=accept_loss,
        new="end" if from_end else "first",
    )
    ensure_topic(kafka, kafka.transactions_topic, like=name)
    stop = threading.Event()
    sender = Sender(kafka, kafka.transactions_topic, stop, linger_ms=LINGER_MS, largest=LARGEST)
    reached = {partition: offset for (_, partition), offset in places.items()}
    # A run that ended because nothing could be converted has left its first positions.
    first = {partition: bound.first for partition, bound in bounds(kafka, topic).items()}
    positions = Positions(kafka, postgres, topic, reached)
    run = _Run(form, positions, sender, monitor or ConvertMonitor(), doubtful=is_new or reached == first)
    log.info("converting %s, %d partitions, into %s", name, len(topic.partitions), kafka.transactions_topic)
    with stopping(stop):
        report = deliver(run.batches(stop, once=once), sender, stop)
    run.done.seconds, run.done.interrupted = report.seconds, report.interrupted and once
    if report.broken is not None:
        raise report.broken
    if report.failed:
        raise Undelivered(report.sent, report.failed, report.seconds, sender.reasons)
    positions.save()
    return run.done


def preview(
    name: str, form: Form, kafka: KafkaSettings, postgres: PostgresSettings, count: int
) -> Conversion:
    """Print the first `count` messages as they would be sent, and report those that cannot be converted; sends nothing.

    Raises TopicError, UsageError, BrokerUnreachable; InputError if none can be converted.
    """
    topic = source_topic(kafka, name)
    first = {partition: bound.first for partition, bound in bounds(kafka, topic).items()}
    done, printer, stop = Conversion(), Printer(), threading.Event()
    with (
        stopping(stop),
        closing(arriving(Positions(kafka, postgres, topic, first), stop, once=True)) as found,
    ):
        for portion, _ in _trusted(_portions(form, found, done), done, stop):
            made = [v for n, v in enumerate(portion.batch.values) if n not in portion.passed_on]
            printer.send([], made[: count - done.converted])
            done.converted += portion.converted
            done.skipped += portion.skipped
            if done.converted >= count:
                break
    done.converted = min(done.converted, count)
    return done


def _portions(
    form: Form, arrived: "Iterable[list[Message]]", done: Conversion
) -> "Iterator[tuple[Portion, list[Message]]]":
    for messages in arrived:
        portion = form.converted([Original(m.key(), m.value()) for m in messages if not m.error()])
        _report(done, portion, messages)
        yield portion, messages


def _report(done: Conversion, portion: Portion, messages: "Sequence[Message]") -> None:
    """Count the messages that cannot be converted, and report the first ones."""
    for where, reason in _unreadable(portion, messages):
        done.unreadable += 1
        if done.unreadable <= TOLD:
            log.warning("%s cannot be converted: %s", where, reason)


def _unreadable(portion: Portion, messages: "Sequence[Message]") -> Iterator[tuple[str, str]]:
    """Where each message is that cannot be converted, and why."""
    there = [message for message in messages if not message.error()]
    for place, reason in portion.unreadable.items():
        message = there[place]
        yield f"{message.topic()}/{message.partition()}, offset {message.offset()}", reason


def _unfit(count: int, portion: Portion, messages: "Sequence[Message]") -> InputError:
    """The error for messages of which none can be converted, from some of them."""
    there = [message for message in messages if not message.error()]
    known = [", ".join(paths(there[place].value())) for place in portion.unreadable]
    # An object says more about the form than what is none.
    place = next((n for n, fields in enumerate(known) if fields), 0)
    where, reason = list(_unreadable(portion, messages))[place]
    return InputError(
        f"None of the first {count:,} messages can be converted; {where}: {reason}.",
        hint="Name its fields with --map THEIRS=OURS, and give what it lacks with --fill OURS=VALUE; timestamps that are"
        f" numbers need --epoch.{f' This one has {known[place]}.' if known[place] else ''}",
    )


def _trusted(
    portions: "Iterator[tuple[Portion, list[Message]]]", done: Conversion, stop: threading.Event
) -> "Iterator[tuple[Portion, list[Message]]]":
    """These portions. What cannot be converted is held back until the first message can, with what follows it.

    Raises InputError if none can: with a wrong form, a whole topic would be rejected.
    """
    held: list[tuple[Portion, list[Message]]] = []
    for portion, messages in portions:
        if messages and (held or portion.unreadable):
            # Ends of partitions, too, once something is held: they are positions behind it.
            held.append((portion, messages))
        if portion.converted or sum(len(some) for _, some in held) > MOST_HELD:
            yield from held or [(portion, messages)]
            yield from portions
            return
        if portion.unreadable and done.unreadable >= ENOUGH:
            raise _unfit(done.unreadable, *held[0])
        # Monitoring wants to hear from a stream that waits.
        yield (NOTHING, []) if held else (portion, messages)
    if held and not stop.is_set():
        raise _unfit(done.unreadable, *held[0])


class _Run:
    """The messages of the topic on their way: read, converted, counted."""

    def __init__(
        self, form: Form, positions: Positions, sender: Sender, monitor: ConvertMonitor, *, doubtful: bool
    ) -> None:
        self._form, self._positions = form, positions
        self._sender, self._monitor = sender, monitor
        self._doubtful = doubtful
        """Whether nothing has been converted yet, so that the form may be wrong."""
        self._offered = 0
        self._told_at = time.monotonic()
        self._told = 0
        self.done = Conversion()

    def batches(self, stop: threading.Event, *, once: bool) -> Iterator[Batch]:
        """Converted messages, each batch followed by its position once that was sent."""
        self._monitor.begun(STREAM)
        try:
            portions = _portions(self._form, arriving(self._positions, stop, once=once), self.done)
            for portion, messages in _trusted(portions, self.done, stop) if self._doubtful else portions:
                if portion.batch.values:
                    self._offered += len(portion.batch.values)
                    yield portion.batch
                    if self._sender.sent.taken < self._offered:  # a stop came, and there was no room
                        return
                self._note(portion, messages)
                if self._sender.failed:  # no position behind it would be recorded any more
                    return
        finally:
            self._monitor.ended(STREAM)

    def _note(self, portion: Portion, messages: "Sequence[Message]") -> None:
        """Count these messages, and record the position now and then."""
        for message in messages:
            partition, offset = message.partition(), message.offset()
            if partition is not None and offset is not None:
                after = offset if message.error() else offset + 1
                self._positions.reached[partition] = max(self._positions.reached[partition], after)
        self.done.converted += portion.converted
        self.done.skipped += portion.skipped
        self._monitor.counted(portion.converted, len(portion.unreadable), portion.skipped)
        self._monitor.stands(STREAM, self._positions.standing)
        if self._positions.is_time and self._sender.settled(WAIT_SECONDS):
            self._positions.save()
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
