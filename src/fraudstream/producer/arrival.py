"""Messages of a topic as they arrive, without a consumer group: whoever reads keeps the positions."""

import threading
from collections.abc import Generator
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
WAIT_SECONDS: Final = 0.1
"""How long it waits for a message before it looks whether it is to stop."""


def arriving(positions: Positions, stop: threading.Event, *, once: bool) -> "Generator[list[Message]]":
    """Messages, and ends of partitions (`is_end`), as they come; an empty list now and then if none do.

    Ends with `stop`, or with `once` when every partition has reported its end.
    """
    consumer = _consumer(positions)
    ended: set[int] = set()
    with closing(consumer):
        while not stop.is_set() and not (once and ended.issuperset(positions.reached)):
            found = []
            if (first := consumer.poll(WAIT_SECONDS)) is not None:
                # The first one alone: a call for many waits until it has as many, or for the whole time.
                found = [first, *consumer.consume(MOST - 1, 0)]
            usable = [message for message in found if _checked(positions, message)]
            ended |= {message.partition() or 0 for message in usable if message.error()}
            yield usable
            if positions.look():
                _assign(consumer, positions)


def _consumer(positions: Positions) -> "Consumer":
    # The end of a partition is reported after a fetch has waited in vain for so long; messages are not held back by it.
    return reader(
        positions.kafka, positions.topic.name, positions.reached, STREAM, **{"fetch.wait.max.ms": 200}
    )


def _assign(consumer: "Consumer", positions: Positions) -> None:
    from confluent_kafka import TopicPartition

    log.info("%s now has %d partitions", positions.topic.name, len(positions.reached))
    consumer.assign([TopicPartition(positions.topic.name, *place) for place in positions.reached.items()])


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
            hint=f"Raise the topic's retention. To continue without them: `fraudstream convert {name} --accept-loss`.",
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
