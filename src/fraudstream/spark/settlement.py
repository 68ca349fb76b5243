"""How far a stopped scorer has answered: further than the last batch of its query that ended, which may be a minute ago.

Without it, an orderly stop would leave messages that seem to wait, and the next start would answer them again. It costs a
look into the topic at the stop instead of an offset in each decision.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from fraudstream.decode import REFUSED
from fraudstream.errors import BrokerUnreachable
from fraudstream.kafka import Topic, is_end, reader
from fraudstream.settings import KafkaSettings

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

SECONDS: Final = 5.0
"""Maximum number of seconds for it: the stop waits for it, and what is not settled is only answered again."""
_SILENCE_SECONDS: Final = 2.0
"""The broker is away if it says nothing for so long."""
_PORTION: Final = 1000


class _Named(msgspec.Struct):
    """A message, as far as it is read here."""

    transaction_id: str | None = None


def settled(
    kafka: KafkaSettings, topic: Topic, reached: Mapping[int, int], is_answered: Callable[[object], bool]
) -> dict[int, int]:
    """The offset of each partition below which every message is answered, from those that are known to be `reached`.

    `is_answered` says whether there is an answer to a transaction id, or to a message that could not be read, by its
    partition and offset. A message that repeats an id counts as answered with it. If the broker is away, that is as far as
    was found.
    """
    from confluent_kafka import KafkaException

    found = dict(reached)
    try:
        consumer = reader(kafka, topic.name, reached, "score-settlement")
    except (BrokerUnreachable, KafkaException):
        return found
    try:
        open_ = set(reached)
        for message in _arriving(consumer, open_):
            partition, offset = message.partition(), message.offset()
            if partition not in open_ or offset is None:
                continue
            if message.error():  # the end of the partition, or one that cannot be read
                found[partition] = max(found[partition], offset) if is_end(message) else found[partition]
                open_.remove(partition)
            elif is_answered(_name(message)) or is_answered((partition, offset)):
                found[partition] = offset + 1
            else:
                open_.remove(partition)
    finally:
        consumer.close()
    return found


def _arriving(consumer: "Consumer", open_: set[int]) -> "Iterator[Message]":
    """Messages and ends of partitions, until none is open, the broker is silent, or time is up."""
    deadline = time.monotonic() + SECONDS
    while open_ and time.monotonic() < deadline:
        if not (portion := consumer.consume(_PORTION, _SILENCE_SECONDS)):
            return
        yield from portion


def _name(message: "Message") -> str | None:
    try:
        return msgspec.json.decode(message.value() or b"", type=_Named).transaction_id
    except REFUSED:
        return None
