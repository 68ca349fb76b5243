"""Topics as the broker describes them: their ids, partitions and offsets."""

import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fraudstream.errors import BrokerRefused, FraudstreamError, LeaderMissing, TopicError
from fraudstream.kafka.clients import admin, unreachable
from fraudstream.logs import get_logger
from fraudstream.settings import KafkaSettings

if TYPE_CHECKING:
    from confluent_kafka import KafkaError
    from confluent_kafka.admin import AdminClient

log = get_logger("kafka")

METADATA_SECONDS = 0.05
"""Seconds between two checks for a new topic: a broker's metadata follows its controller within tens of milliseconds."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the broker describes it. `topic_id` is new for every topic, even for one of the same name."""

    name: str
    topic_id: str
    partitions: tuple[int, ...]


def find_topic(kafka: KafkaSettings, name: str, client: "AdminClient | None" = None) -> Topic | None:
    """The topic, or None. Raises BrokerUnreachable (BrokerRefused without the right), TopicError."""
    from confluent_kafka import KafkaError, TopicCollection

    client = client or admin(kafka)
    futures = client.describe_topics(TopicCollection([name]), request_timeout=kafka.timeout_seconds)
    asked = _Asked(f"describe topic {name}", "Describe")
    found = _answer(kafka, futures[name], asked, missing=KafkaError.UNKNOWN_TOPIC_OR_PART)
    return None if found is None else _described(found)


def _described(found: Any) -> Topic:
    """A topic from the broker's description. Raises TopicError if the broker does not give topics ids.

    Offsets are stored by that id, and such a broker gives every topic the same: one would resume where another stopped.
    """
    from confluent_kafka import Uuid

    if str(found.topic_id) == str(Uuid(0, 0)):
        raise TopicError(
            f"This Kafka reports no id for topic {found.name}, which fraudstream needs to keep its offsets.",
            hint="Kafka 2.8 or newer is needed, or a compatible broker (Metadata v10).",
        )
    return Topic(found.name, str(found.topic_id), tuple(sorted(p.id for p in found.partitions)))


def ensure_topic(
    kafka: KafkaSettings,
    name: str,
    partitions: int | None = None,
    *,
    like: str | None = None,
    reads: bool = False,
) -> Topic:
    """The topic, created if it is missing, with as many partitions as topic `like` if that exists.

    A command that only `reads` from a topic with a configured name expects it to exist, so creating it is a warning: a
    misspelt one stays empty forever.

    Raises BrokerUnreachable, TopicError.
    """
    from confluent_kafka import KafkaError
    from confluent_kafka.cimpl import NewTopic

    client = admin(kafka)
    found = find_topic(kafka, name, client)
    if found is None:
        pattern = find_topic(kafka, like, client) if like else None
        wanted = (len(pattern.partitions) if pattern else partitions) or kafka.partitions
        new = NewTopic(name, wanted, kafka.replication_factor)
        future = client.create_topics([new], request_timeout=kafka.timeout_seconds)[name]
        # Another process may create it at the same time: then it exists, which is all that matters.
        asked = _Asked(f"create topic {name}", "Create")
        _answer(kafka, future, asked, missing=KafkaError.TOPIC_ALREADY_EXISTS)
        found = _await_topic(kafka, name, client)
        _announce(kafka, found, reads=reads)
    return found


def _announce(kafka: KafkaSettings, new: Topic, *, reads: bool) -> None:
    """Log that a topic was created; visibly if others write to it, as a misspelt one would be waited on forever."""
    count = len(new.partitions)
    if new.name != kafka.transactions_topic:
        log.debug("created topic %s with %d partitions", new.name, count)
    elif reads and "transactions_topic" in kafka.model_fields_set:
        log.warning(
            "topic %s did not exist: created it with %d partitions. If it should exist, check"
            " FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC.",
            new.name,
            count,
        )
    else:
        log.info("created topic %s with %d partitions", new.name, count)


def _await_topic(kafka: KafkaSettings, name: str, client: "AdminClient") -> Topic:
    """A topic that was just created, once each of its partitions answers.

    The controller answers before the broker's own metadata includes the topic, and the metadata before the partition
    accepts messages. A partition that opens during a producer's first batches would refuse some and accept the next, and
    treat the refused ones, when they are retried, as duplicates: acknowledged, and lost.
    """
    deadline = time.monotonic() + kafka.timeout_seconds
    while time.monotonic() < deadline:
        found = find_topic(kafka, name, client)
        if found is not None and found.partitions:
            bounds(kafka, found, client)
            return found
        time.sleep(METADATA_SECONDS)
    raise TopicError(
        f"Topic {name} was created but the broker does not show it.", hint="Try again in a moment."
    )


def message_limit(kafka: KafkaSettings, name: str) -> int | None:
    """The largest message, or batch of messages, that a topic takes, in bytes; None where we may not ask, or get no answer."""
    from confluent_kafka import KafkaException
    from confluent_kafka import admin as admin_module

    client = admin(kafka)  # held until the answer is there
    resource: Any = vars(admin_module)["ConfigResource"]  # public, but the package's types do not export it
    asked = resource(resource.Type.TOPIC, name)
    future = client.describe_configs([asked], request_timeout=kafka.timeout_seconds)[asked]
    try:
        # Brokers of other makers may not name it.
        found = future.result(kafka.timeout_seconds + 5).get("max.message.bytes")
    except (KafkaException, TimeoutError) as error:
        log.debug("the size of messages that topic %s takes is not known: %s", name, error)
        return None
    return int(found.value) if found is not None and found.value else None


@dataclass(frozen=True, slots=True)
class Bounds:
    """The offsets that a partition has now: from `first` up to, not including, `end`.

    Messages of an open transaction, and those that follow, are beyond `end`: readers do not get them yet.
    """

    first: int
    end: int


def bounds(kafka: KafkaSettings, topic: Topic, client: "AdminClient | None" = None) -> Mapping[int, Bounds]:
    """First and end offset of every partition. Raises BrokerUnreachable, or LeaderMissing if one has no leader."""
    from confluent_kafka import IsolationLevel, TopicPartition
    from confluent_kafka import admin as admin_module

    client = client or admin(kafka)
    offsets: Any = vars(admin_module)["OffsetSpec"]  # public, but the package's types do not export it

    def ask(spec: Any) -> dict[int, int]:
        request = {TopicPartition(topic.name, partition): spec for partition in topic.partitions}
        # With Spark's isolation level: a stream that begins beyond its own end would consider messages lost.
        futures = client.list_offsets(
            request,
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=kafka.timeout_seconds,
        )
        return {
            where.partition: _answer(kafka, future, told, f"{topic.name}/{where.partition}").offset
            for where, future in futures.items()
        }

    told = _Asked(f"give the offsets of topic {topic.name}", "Describe")
    deadline = time.monotonic() + kafka.timeout_seconds
    while True:
        try:
            first, end = ask(offsets.earliest()), ask(offsets.latest())
        except LeaderMissing:  # the topic was just created, possibly by a concurrent producer
            if time.monotonic() > deadline:
                raise
            time.sleep(METADATA_SECONDS)
        else:
            return {partition: Bounds(first[partition], end[partition]) for partition in topic.partitions}


class _Asked(NamedTuple):
    """A request to a broker."""

    deed: str
    right: str
    """The operation in Kafka's ACLs."""


def _answer(
    kafka: KafkaSettings,
    future: "Future[Any]",
    asked: _Asked,
    partition: str = "",
    missing: int | None = None,
) -> Any:
    """The broker's answer, for `partition` if the request was about one; None for the error code `missing`."""
    from confluent_kafka import KafkaError, KafkaException

    away = {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.UNKNOWN,  # an internal error of the broker, for example while it starts or stops
    }
    try:
        return future.result(kafka.timeout_seconds + 5)
    except KafkaException as error:
        cause = error.args[0]
        if missing is not None and cause.code() == missing:
            return None
        if cause.code() in away:
            raise unreachable(kafka, kafka.timeout_seconds, cause.str()) from None
        leaderless = {
            KafkaError._NOENT,  # of no partition is a leader known
            KafkaError.LEADER_NOT_AVAILABLE,
            KafkaError.NOT_LEADER_FOR_PARTITION,
            KafkaError.UNKNOWN_LEADER_EPOCH,
            KafkaError.FENCED_LEADER_EPOCH,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            # For seconds after a failover: the new leader does not know the old one's progress yet, or the replica
            # that was asked has lost its disk and another takes over.
            KafkaError.OFFSET_NOT_AVAILABLE,
            KafkaError.KAFKA_STORAGE_ERROR,
            KafkaError.REPLICA_NOT_AVAILABLE,
        }
        if cause.code() in leaderless:
            raise LeaderMissing(partition, f"{cause.str()} ({cause.name()})") from None
        raise _refused(asked, cause) from None
    except TimeoutError:
        raise unreachable(kafka, kafka.timeout_seconds) from None


def _refused(asked: _Asked, cause: "KafkaError") -> FraudstreamError:
    """The error for a refused request, with a hint."""
    from confluent_kafka import KafkaError

    said = f"Kafka refused to {asked.deed}: {cause.str().rstrip('.')} ({cause.name()})."
    if cause.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
        return BrokerRefused(said, hint=f"Give this user the right {asked.right} on the topic.")
    hints = {
        KafkaError.INVALID_REPLICATION_FACTOR: "Set FRAUDSTREAM_KAFKA__REPLICATION_FACTOR to what the cluster's brokers"
        " can hold.",
        KafkaError.INVALID_PARTITIONS: "Check FRAUDSTREAM_KAFKA__PARTITIONS.",
        KafkaError.POLICY_VIOLATION: "Set FRAUDSTREAM_KAFKA__REPLICATION_FACTOR and __PARTITIONS as the cluster's policy"
        " requires, or let its administrator create the topic.",
        KafkaError.TOPIC_EXCEPTION: "Check the topic's name: FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC and __SCORED_TOPIC.",
    }
    return TopicError(said, hint=hints.get(cause.code(), "See the broker's own log."))
