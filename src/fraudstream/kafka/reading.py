"""Reads a range of a partition: the part of a batch that one task stores.

With librdkafka, not through Spark's source, which makes a row of each message that is then copied to Python field by field: 5 of
the 14 microseconds that a message took (docs/performance.md).
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fraudstream.errors import BrokerRefused, StreamError
from fraudstream.kafka.clients import COMMITTED, is_end

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

BLOCK: Final = 10_000
"""Messages of a block, at most."""
BLOCK_BYTES: Final = 64 << 20
"""Bytes from which on a block ends: a topic may allow messages of many megabytes."""
REQUEST: Final = 1_000
"""Messages taken from librdkafka at a time, at most."""
LARGE: Final = 1 << 20
"""The size that the first messages are taken for, so that few of them are taken at once."""
WAIT_SECONDS: Final = 0.05
"""How long to wait for messages: at a marker of a transaction, which looks like a message that is missing, in vain."""
SILENCE_SECONDS: Final = 60.0
"""After this long without an answer, reading stops, and the driver finds out what happened."""

_OPTIONS: Final = {
    **COMMITTED,
    "group.id": "fraudstream-consume",
    # What is fetched beyond the range is fetched again by the next batch's task. Measured: with 20,000 messages and 2 MiB, which
    # is compressed and so four times that, a fifth fewer rows a second.
    "queued.min.messages": 1_000,
    "fetch.message.max.bytes": 256 << 10,
    # By default, librdkafka fetches nothing for a second after it had enough.
    "fetch.queue.backoff.ms": 2,
}


class ReadingStopped(StreamError):
    """Kafka did not send what a batch was planned with. The next start finds out why: whether it is lost, or was only away."""

    code = "reading_stopped"


@dataclass(frozen=True, slots=True)
class Range:
    """The messages of a partition from `begin` up to `end`, without that."""

    partition: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages of one partition in order. `offsets` need not be dense: Kafka's transactions leave gaps."""

    offsets: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]

    def since(self, offset: int) -> "Messages":
        """Those at `offset` and above."""
        start = next((i for i, found in enumerate(self.offsets) if found >= offset), len(self.offsets))
        return Messages(self.offsets[start:], self.keys[start:], self.values[start:]) if start else self


class _Held:
    """This process's consumer, kept from one task to the next: connecting takes as long as reading a thousand messages."""

    def __init__(self, config: Mapping[str, str]) -> None:
        from confluent_kafka import Consumer

        self.config = dict(config)
        self.complaint: KafkaError | None = None
        self.consumer: Consumer = Consumer({**config, **_OPTIONS, "error_cb": self._complain})

    def _complain(self, error: "KafkaError") -> None:
        self.complaint = error


_held: dict[str, _Held] = {}
"""By topic, so that no consumer ever has messages of another one in its queue."""


def _consumer(config: Mapping[str, str], topic: str) -> _Held:
    """The consumer of a topic with this configuration: a password may have changed since the last task."""
    if topic in _held and _held[topic].config != config:
        _drop(topic)
    if topic not in _held:
        _held[topic] = _Held(config)
    return _held[topic]


def _drop(topic: str) -> None:
    if topic in _held:
        _held.pop(topic).consumer.close()


def read(config: Mapping[str, str], topic: str, wanted: Range) -> Iterator[Messages]:
    """The committed messages of a range, in blocks; `config` is that of `clients.inline_config`.

    Raises ReadingStopped, BrokerRefused.
    """
    from confluent_kafka import KafkaException, TopicPartition

    try:
        held = _consumer(config, topic)
        held.complaint = None
        held.consumer.assign([TopicPartition(topic, wanted.partition, wanted.begin)])
        yield from _blocks(held, topic, wanted)
        held.consumer.unassign()
    except KafkaException as error:
        _drop(topic)
        raise ReadingStopped(f"Kafka's client failed: {error.args[0].str()}.") from None
    except Exception:
        _drop(topic)  # whatever state it is in, the next task begins with a new one
        raise


def _blocks(held: _Held, topic: str, wanted: Range) -> Iterator[Messages]:
    from confluent_kafka import Message

    at, heard, largest = wanted.begin, time.monotonic(), LARGE
    offsets, keys, values, size = list[int](), list[bytes | None](), list[bytes | None](), 0
    while at < wanted.end:
        count = min(REQUEST, wanted.end - at, max(1, BLOCK_BYTES // 4 // largest))
        met = held.consumer.consume(count, WAIT_SECONDS)
        if not met:
            _check(held, topic, wanted, time.monotonic() - heard)
            continue
        heard = time.monotonic()
        if any(map(Message.error, met)):
            at = max(at, _end(topic, wanted, met))
            met = [message for message in met if message.error() is None]
        if set(map(Message.partition, met)) - {wanted.partition}:
            # librdkafka discards what it had fetched for another assignment; stored here, it would pass for this partition's.
            raise ReadingStopped(
                f"Kafka's client sent messages of another partition than {topic}/{wanted.partition}."
            )
        places: list[Any] = list(map(Message.offset, met))
        inside = bisect_left(places, wanted.end)
        if inside:
            sizes = list(map(len, met))
            largest = max(*sizes, 1)
            size += sum(sizes)
            offsets += places[:inside]
            keys += list(map(Message.key, met))[:inside]
            values += list(map(Message.value, met))[:inside]
        if places:
            at = max(at, places[-1] + 1)
        if len(values) >= BLOCK or size >= BLOCK_BYTES:
            yield Messages(offsets, keys, values)
            offsets, keys, values, size = [], [], [], 0
    if values:
        yield Messages(offsets, keys, values)


def _end(topic: str, wanted: Range, met: "Sequence[Message]") -> int:
    """The end of the partition that one of these reports. Raises ReadingStopped, BrokerRefused for any other error."""
    from confluent_kafka import KafkaError

    end = wanted.begin
    for message in met:
        error = message.error()
        if is_end(message):
            end = max(end, message.offset() or 0)
        elif error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise _refused(error.str())
        elif error is not None:
            raise ReadingStopped(f"Kafka cannot send {topic}/{wanted.partition}: {error.str().rstrip('.')}.")
    return end


def _check(held: _Held, topic: str, wanted: Range, silence: float) -> None:
    """Raise what a silence is due to."""
    from confluent_kafka import KafkaError

    complaint = held.complaint
    if complaint is not None and complaint.code() in {KafkaError._AUTHENTICATION, KafkaError._SSL}:
        raise _refused(complaint.str())
    if silence > SILENCE_SECONDS:
        reason = f": {complaint.str().rstrip('.')}" if complaint is not None else ""
        raise ReadingStopped(
            f"Kafka sent nothing of {topic}/{wanted.partition} for {SILENCE_SECONDS:g} s{reason}."
        )


def _refused(reason: str) -> BrokerRefused:
    return BrokerRefused(
        f"Kafka rejected a task's client: {reason.rstrip('.')}.",
        hint="Check FRAUDSTREAM_KAFKA__SASL_…, __SSL_… and what this user may do with the topic.",
    )
