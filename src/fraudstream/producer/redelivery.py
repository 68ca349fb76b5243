"""Sends rejected messages to their topic again, once they can be read."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from fraudstream.decision import DecisionDecoder
from fraudstream.decode import Decoder
from fraudstream.errors import DeliveryError
from fraudstream.kafka import ensure_topic, find_topic, producer
from fraudstream.logs import get_logger
from fraudstream.producer.sender import LARGEST
from fraudstream.settings import KafkaSettings, PostgresSettings
from fraudstream.store import rejected
from fraudstream.store.rejected import Rejected

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

log = get_logger("rejected")

PORTION = 100
"""Messages that are sent before they are marked. After a kill in between, that many are sent again: their rows exist by
then, and are counted as duplicates by the primary key."""

TOLD = 5
"""Refused messages that are reported individually."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that can be read but that Kafka refuses, and why."""

    topic: str
    partition: int
    offset: int
    reason: str


@dataclass(slots=True)
class Redelivery:
    """The result for the waiting messages, as far as they were processed."""

    replayed: int = 0
    """Messages that Kafka acknowledged."""
    still_rejected: int = 0
    """Messages that are still waiting, including those that Kafka refused."""
    refused: list[Refused] = field(default_factory=list)
    """The first of those that Kafka refused."""
    interrupted: bool = False
    """Whether it was stopped before every message was processed."""


class NotReplayed(DeliveryError):
    """Kafka did not acknowledge some rejected messages; the message says how many it did."""

    def __init__(self, done: Redelivery, failed: int, reason: str) -> None:
        super().__init__(
            f"Kafka did not acknowledge {failed:,} messages: {reason}. {done.replayed:,} were replayed.",
            hint="The others are still waiting: run `fraudstream rejected replay` again when Kafka answers.",
            figures=asdict(done),
        )


def replay_rejected(
    kafka: KafkaSettings, postgres: PostgresSettings, done: Redelivery, stop: threading.Event
) -> None:
    """Send every rejected message that can now be read to its topic, with its original key and bytes.

    One that Kafka refuses because of its contents keeps waiting. `stop` ends it after the current batch. Raises NotReplayed
    if Kafka fails, BrokerUnreachable if it is unavailable; acknowledged messages are marked, and not sent again. `done`
    has the counts in every case.
    """
    producer = _producer(kafka)
    transactions, decisions = Decoder(), DecisionDecoder()
    exists: dict[str, bool] = {}
    for (topic, decision), portion in _portions(rejected.waiting(postgres)):
        if topic not in exists:
            exists[topic] = _is_there(kafka, topic)
        if stop.is_set():
            done.interrupted = True
            return
        if not exists[topic]:
            done.still_rejected += len(portion)
            continue
        decoder = decisions if decision or topic == kafka.scored_topic else transactions
        decoded = decoder.decode([message.value for message in portion])
        # Not those with a row: refusals have none, and can be read all the same.
        unreadable = {reject.position for reject in decoded.rejects}
        readable = [message for place, message in enumerate(portion) if place not in unreadable]
        users = dict(zip(decoded.positions, decoded.rows["user_id"].to_pylist(), strict=True))
        keys = [users.get(place) for place in range(len(portion)) if place not in unreadable]
        sent = _send(producer, kafka, readable, keys)
        rejected.mark_replayed(postgres, [readable[place] for place in sent.acknowledged])
        done.replayed += len(sent.acknowledged)
        done.still_rejected += len(portion) - len(sent.acknowledged)
        for place in sorted(sent.refused)[: TOLD - len(done.refused)]:
            which = readable[place]
            done.refused.append(Refused(topic, which.partition, which.offset, sent.refused[place]))
        if failed := len(readable) - len(sent.acknowledged) - len(sent.refused):
            raise NotReplayed(done, failed, sent.failure)


def _is_there(kafka: KafkaSettings, topic: str) -> bool:
    """Whether there is a topic to send to. Only those of the settings are created: nobody would read another."""
    if topic in (kafka.transactions_topic, kafka.scored_topic):
        # Not created by the first message: a topic that opens during production loses some (kafka/topics.py).
        ensure_topic(kafka, topic, like=kafka.transactions_topic)
        return True
    found = find_topic(kafka, topic) is not None
    if not found:
        log.warning("Topic %s is gone: its messages keep waiting.", topic)
    return found


def _producer(kafka: KafkaSettings) -> "Producer":
    return producer(
        kafka,
        {
            "log_level": "0",
            "message.max.bytes": LARGEST,
            # A batch is in memory already; a queue of fewer bytes would not accept all of it.
            "queue.buffering.max.kbytes": 2_147_483_647,
            # A broker refuses a batch as a whole, which must not include messages that it would accept.
            "batch.num.messages": 1,
        },
    )


def _portions(messages: Iterable[Rejected]) -> Iterator[tuple[tuple[str, bool], list[Rejected]]]:
    """Batches of one topic each, and whether its messages are decisions, as each kind is decoded differently."""
    for kind, waiting in groupby(messages, attrgetter("topic", "decision")):
        while portion := list(islice(waiting, PORTION)):
            yield kind, portion


@dataclass(slots=True)
class _Sent:
    """The result of a batch, by index in it; messages in neither list got no answer, or `failure`."""

    acknowledged: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    """Why Kafka will never accept it."""
    failure: str = "no answer"


def _send(
    producer: "Producer", kafka: KafkaSettings, messages: list[Rejected], users: list[str | None]
) -> _Sent:
    """Send these, and wait for Kafka's answer to each. A refusal has no user."""
    from confluent_kafka import KafkaError, KafkaException

    lasting = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD)
    sent = _Sent()

    def report(place: int, error: "KafkaError | None", _message: "Message | None" = None) -> None:
        if error is None:
            sent.acknowledged.append(place)
        elif error.code() in lasting:
            sent.refused[place] = error.str()
        else:
            sent.failure = error.str()

    for place, (message, user) in enumerate(zip(messages, users, strict=True)):
        # Its original key, else the one that our own messages have, so that a user's history stays in order.
        key, value = message.key or (user and user.encode()), cast("bytes", message.value)
        try:
            producer.produce(message.topic, value, key=key, on_delivery=partial(report, place))
        except KafkaException as error:
            report(place, error.args[0])
        producer.poll(0)
    producer.flush(kafka.timeout_seconds * 3)
    return sent
