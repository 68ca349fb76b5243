"""Converts another topic's messages as they arrive: reads, sends them on as transactions, and records how far it is.

At least once: the position is recorded in PostgreSQL, as those of all streams, after Kafka has acknowledged what was sent.
After a kill, some messages are sent again; their rows exist by then, and count as duplicates.
"""

import threading
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
from fraudstream.producer.sender import LINGER_MS, Sender, Undelivered
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
    sender = Sender(kafka, kafka.transactions_topic, stop, linger_ms=LINGER_MS)
    positions = Positions(
        kafka, postgres, topic, {partition: offset for (_, partition), offset in places.items()}
    )
    run = _Run(form, positions, sender, monitor or ConvertMonitor(), doubtful=is_new)
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
        for portion, messages in _portions(form, found):
            _report(done, portion, messages)
            made = [v for n, v in enumerate(portion.batch.values) if n not in portion.passed_on]
            printer.send([], made[: count - done.converted])
            done.converted += portion.converted
            done.skipped += portion.skipped
            if done.converted >= count:
                break
            if done.unreadable >= ENOUGH and not done.converted:
                raise _unfit(done.unreadable, portion, messages)
    done.converted = min(done.converted, count)
    return done


def _portions(form: Form, arrived: "Iterable[list[Message]]") -> "Iterator[tuple[Portion, list[Message]]]":
    for messages in arrived:
        yield form.converted([Original(m.key(), m.value()) for m in messages if not m.error()]), messages


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
        self.done = Conversion()

    def batches(self, stop: threading.Event, *, once: bool) -> Iterator[Batch]:
        """Converted messages, each batch followed by its position once that was sent."""
        self._monitor.begun(STREAM)
        try:
            arrived = _portions(self._form, arriving(self._positions, stop, once=once))
            for portion, messages in self._trusted(arrived, stop):
                if portion.batch.values:
                    self._offered += len(portion.batch.values)
                    yield portion.batch
                    if self._sender.sent.taken < self._offered:  # a stop came, and there was no room
                        return
                self._note(portion, messages)
        finally:
            self._monitor.ended(STREAM)

    def _trusted(
        self, portions: "Iterable[tuple[Portion, list[Message]]]", stop: threading.Event
    ) -> "Iterator[tuple[Portion, list[Message]]]":
        """These portions. The first ones are held back until one message could be converted.

        Raises InputError if none can: with a wrong form, a whole topic would be rejected.
        """
        held: list[tuple[Portion, list[Message]]] = []
        unreadable = 0
        for portion, messages in portions:
            _report(self.done, portion, messages)
            if self._doubtful:
                held.append((portion, messages))
                unreadable += len(portion.unreadable)
                if portion.converted:
                    self._doubtful = False
                    yield from held
                elif unreadable >= ENOUGH and portion.unreadable:
                    raise _unfit(unreadable, portion, messages)
            else:
                yield portion, messages
        if self._doubtful and not stop.is_set():
            for portion, messages in held:
                if portion.unreadable:
                    raise _unfit(unreadable, portion, messages)
            yield from held

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
