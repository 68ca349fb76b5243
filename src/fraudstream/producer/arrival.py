"""Messages of a topic as they arrive, without a consumer group: whoever reads keeps the positions."""

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Final

from fraudstream.errors import BrokerRefused, FraudstreamError, MessagesLost, TopicError
from fraudstream.kafka import is_end, reader
from fraudstream.logs import get_logger
from fraudstream.producer.positions import STREAM, Positions

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message

log = get_logger("convert")

MOST: Final = 1_000
"""Messages that arrive together."""
LARGE: Final = 100_000
"""Bytes from which a message comes alone: our topic may not allow it, and then nothing else is to fail with it."""
WAIT_SECONDS: Final = 0.1
"""How long it waits for a message before it looks whether it is to stop."""


def arriving(positions: Positions, stop: threading.Event, *, once: bool) -> "Generator[list[Message]]":
    """Messages, and ends of partitions (`is_end`), as they come; an empty list now and then if none do.

    Ends with `stop`, or with `once` where the partitions end now: others may go on writing. A message of LARGE bytes or
    more comes alone.
    """
    read = dict(positions.reached)
    ends = positions.ends() if once else {}
    with closing(_consumer(positions)) as consumer:
        while not stop.is_set() and not (
            once and all(read[partition] >= end for partition, end in ends.items())
        ):
            found = []
            if (first := consumer.poll(WAIT_SECONDS)) is not None:
                # The first one alone: a call for many waits until it has as many, or for the whole time.
                found = [first, *consumer.consume(MOST - 1, 0)]
            usable = [message for message in found if _checked(positions, message)]
            read |= after(usable)
            yield from _apart(usable)
            positions.look()
            if positions.added:
                read |= positions.added
                positions.added.clear()
                _assign(consumer, positions.topic.name, read)


def after(messages: "Sequence[Message]") -> dict[int, int]:
    """The offset behind these messages, by partition; the end of a partition is its own offset."""
    return {
        message.partition() or 0: (message.offset() or 0) + (0 if message.error() else 1)
        for message in messages
    }


def size(key: bytes | None, value: bytes | None) -> int:
    """The bytes of a message."""
    return len(key or b"") + len(value or b"")


def _apart(messages: "list[Message]") -> "Iterator[list[Message]]":
    """These messages, together but for large ones."""
    begin = 0
    for place, message in enumerate(messages):
        if size(message.key(), message.value()) >= LARGE:
            yield messages[begin:place]
            yield [message]
            begin = place + 1
    yield messages[begin:]


def _consumer(positions: Positions) -> "Consumer":
    # The end of a partition is reported after a fetch has waited in vain for so long; messages are not held back by it.
    return reader(
        positions.kafka, positions.topic.name, positions.reached, STREAM, **{"fetch.wait.max.ms": 200}
    )


def _assign(consumer: "Consumer", name: str, read: Mapping[int, int]) -> None:
    """Read partitions that were added, too; the others go on where they are, which is ahead of their positions."""
    from confluent_kafka import TopicPartition

    log.info("%s now has %d partitions", name, len(read))
    consumer.assign([TopicPartition(name, *place) for place in read.items()])


def _checked(positions: Positions, message: "Message") -> bool:
    """Whether it is a message, or the end of a partition, and not an error that passes. Raises one that does not."""
    error = message.error()
    if error is None or is_end(message):
        return True
    if (lasting := _lasting(positions.topic.name, error)) is not None:
        raise lasting
    log.debug("Kafka's client: %s", error.str())
    return False


def _lasting(name: str, error: "KafkaError") -> FraudstreamError | None:
    from confluent_kafka import KafkaError

    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        return MessagesLost(
            f"Messages of {name} were deleted before they were converted.",
            hint="Raise the topic's retention. To continue without them: the same command with --accept-loss.",
        )
    if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
        return BrokerRefused(
            f"Kafka refuses to give messages of {name}: {error.str()}.",
            hint="Give this user the right Read on the topic.",
        )
    gone = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
    if error.code() in gone:
        return TopicError(f"Topic {name} is gone.", hint="Check who deleted it.")
    return None
