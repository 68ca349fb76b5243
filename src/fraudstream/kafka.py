"""How we reach Kafka: one setting, two clients (librdkafka and Java), and the topics themselves."""

import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fraudstream.errors import (
    BrokerRefused,
    BrokerUnreachable,
    CredentialsUnreadable,
    LeaderMissing,
    SettingsError,
    TopicError,
)
from fraudstream.kafka_keys import opened, passwords, read_pem
from fraudstream.logs import get_logger
from fraudstream.settings import KafkaSettings, SaslMechanism, SecurityProtocol

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

log = get_logger("kafka")

METADATA_SECONDS = 0.05
"""Between two looks for a new topic: a broker's metadata follows its controller within some tens of milliseconds."""


def servers(kafka: KafkaSettings) -> str:
    """The bootstrap servers. Raises SettingsError where none are set and none are embedded."""
    if kafka.bootstrap_servers is None:
        raise SettingsError(
            "No Kafka is set, and the embedded one is not running.",
            hint="Start it with `fraudstream up`, or set FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS.",
        )
    return kafka.bootstrap_servers


def client_config(kafka: KafkaSettings) -> dict[str, str]:
    """Properties of librdkafka clients (confluent-kafka). Raises SettingsError, CredentialsUnreadable."""
    password, key_password = passwords(kafka)
    wanted: dict[str, str | None] = {
        "bootstrap.servers": servers(kafka),
        "security.protocol": kafka.security_protocol.value,
        "sasl.mechanism": kafka.sasl_mechanism.value if kafka.sasl_mechanism else None,
        "sasl.username": kafka.sasl_username,
        "sasl.password": password,
        "ssl.key.password": key_password,
    }
    files = {
        "ssl.ca.location": kafka.ssl_ca_file,
        "ssl.certificate.location": kafka.ssl_certificate_file,
        "ssl.key.location": kafka.ssl_key_file,
    }
    for name, path in files.items():
        if path is not None:
            read_pem(path)  # an unreadable file is an error of ours, and none of OpenSSL's
            wanted[name] = str(path)
    return {name: value for name, value in wanted.items() if value is not None}


def producer_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Properties of every producer of ours: what is sent twice lies where it lay before."""
    return {
        **client_config(kafka),
        "enable.idempotence": True,  # implies acks=all and an order that retries keep
        "acks": "all",
        # As the Java client has it, so that all producers of a house agree where a key lives.
        "partitioner": "murmur2_random",
        # 77 MB of messages become 21 MB of log for 0.3 us of CPU each (zstd: 1.0 us); the broker
        # has less to write, and every reader less to fetch.
        "compression.type": "lz4",
    }


def java_config(kafka: KafkaSettings) -> dict[str, str]:
    """Properties of Java clients, for example Spark's source (each then with the prefix `kafka.`).

    Java takes PEM key stores since Kafka 2.7, so the same files serve both clients; its client key
    store is one file with the chain and the key, hence the inline form. Raises SettingsError, CredentialsUnreadable.
    """
    config = {"bootstrap.servers": servers(kafka), "security.protocol": kafka.security_protocol.value}
    password, key_password = passwords(kafka)
    if kafka.security_protocol is SecurityProtocol.SASL_SSL and kafka.sasl_mechanism and password:
        config["sasl.mechanism"] = kafka.sasl_mechanism.value
        config["sasl.jaas.config"] = _jaas(kafka.sasl_mechanism, kafka.sasl_username or "", password)
    if kafka.ssl_ca_file:
        config |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": read_pem(kafka.ssl_ca_file)}
    if kafka.ssl_certificate_file and kafka.ssl_key_file:
        key = read_pem(kafka.ssl_key_file)
        config |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": read_pem(kafka.ssl_certificate_file),
            "ssl.keystore.key": opened(key, key_password) if key_password else key,
        }
    return config


def _jaas(mechanism: SaslMechanism, username: str, password: str) -> str:
    module = "plain.PlainLoginModule" if mechanism is SaslMechanism.PLAIN else "scram.ScramLoginModule"
    return (
        f"org.apache.kafka.common.security.{module} required"
        f" username={_quoted(username)} password={_quoted(password)};"
    )


def _quoted(text: str) -> str:
    """A JAAS string: a quote in a password must not end it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def admin(kafka: KafkaSettings) -> "AdminClient":
    """An admin client. librdkafka's own complaints are dropped: what matters comes back as an error.

    Raises SettingsError, CredentialsUnreadable where librdkafka cannot use the certificate or the key.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    config: dict[str, Any] = {**client_config(kafka), "log_level": "0", "error_cb": _ignore}
    try:
        return AdminClient(config)
    except KafkaException as error:
        reason = error.args[0].str().removeprefix("Failed to create admin client: ")
        raise CredentialsUnreadable(
            f"Kafka's client does not take these settings: {reason}.",
            hint="Check FRAUDSTREAM_KAFKA__SSL_CERTIFICATE_FILE, __SSL_KEY_FILE and __SSL_KEY_PASSWORD.",
        ) from None


def unreachable(kafka: KafkaSettings, seconds: float, detail: str = "") -> BrokerUnreachable:
    """The error for a broker that did not answer in time: why it refuses us, where that can be found out."""
    from fraudstream.kafka_refusal import refusal

    return refusal(kafka, client_config(kafka)) or BrokerUnreachable(servers(kafka), seconds, detail)


def _ignore(_error: object) -> None:
    """Broker-down events arrive here as well as in the answer to the request; once is enough."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What the broker says of a topic. `topic_id` is new for every topic, also for one of the same name."""

    name: str
    topic_id: str
    partitions: tuple[int, ...]


def find_topic(kafka: KafkaSettings, name: str, client: "AdminClient | None" = None) -> Topic | None:
    """The topic, or None where there is none. Raises BrokerUnreachable (BrokerRefused without the right), TopicError."""
    from confluent_kafka import KafkaError, TopicCollection

    client = client or admin(kafka)
    futures = client.describe_topics(TopicCollection([name]), request_timeout=kafka.timeout_seconds)
    found = _answer(kafka, futures[name], missing=KafkaError.UNKNOWN_TOPIC_OR_PART)
    return None if found is None else _described(found)


def _described(found: Any) -> Topic:
    """What the broker says of a topic. Raises TopicError where it gives topics no id.

    Offsets are kept by that id, and such a broker gives every topic the same: one would go on where another stood.
    """
    from confluent_kafka import Uuid

    if str(found.topic_id) == str(Uuid(0, 0)):
        raise TopicError(
            f"This Kafka gives topic {found.name} no id, by which fraudstream keeps its offsets.",
            hint="Kafka 2.8 or newer is needed, or a broker that does as it does (Metadata of version 10).",
        )
    return Topic(found.name, str(found.topic_id), tuple(sorted(p.id for p in found.partitions)))


def ensure_topic(
    kafka: KafkaSettings, name: str, partitions: int | None = None, *, like: str | None = None
) -> Topic:
    """The topic, created where it is missing, with as many partitions as topic `like` where that exists.

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
        # Another process may create it in the same moment: then it is there, which is all we want.
        _answer(kafka, future, missing=KafkaError.TOPIC_ALREADY_EXISTS)
        log.debug("created topic %s", name)
        found = _await_topic(kafka, name, client)
    return found


def _await_topic(kafka: KafkaSettings, name: str, client: "AdminClient") -> Topic:
    """The topic that was made a moment ago: the controller answers before the broker's own metadata knows it."""
    deadline = time.monotonic() + kafka.timeout_seconds
    while time.monotonic() < deadline:
        found = find_topic(kafka, name, client)
        if found is not None and found.partitions:
            return found
        time.sleep(METADATA_SECONDS)
    raise TopicError(
        f"Topic {name} was created but the broker does not show it.", hint="Try again in a moment."
    )


@dataclass(frozen=True, slots=True)
class Bounds:
    """The offsets that a partition holds now: from `first` up to, not including, `end`.

    What belongs to a transaction that is still open, and what follows it, lies behind `end`: readers do not get it yet.
    """

    first: int
    end: int


def bounds(kafka: KafkaSettings, topic: Topic, client: "AdminClient | None" = None) -> Mapping[int, Bounds]:
    """First and end offset of every partition. Raises BrokerUnreachable, LeaderMissing where one stays without."""
    from confluent_kafka import IsolationLevel, TopicPartition
    from confluent_kafka import admin as admin_module

    client = client or admin(kafka)
    offsets: Any = vars(admin_module)["OffsetSpec"]  # public, but the package's types do not export it

    def ask(spec: Any) -> dict[int, int]:
        request = {TopicPartition(topic.name, partition): spec for partition in topic.partitions}
        # As Spark reads: a stream that began behind its own end would take that for lost messages.
        futures = client.list_offsets(
            request,
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=kafka.timeout_seconds,
        )
        return {
            where.partition: _answer(kafka, future, partition=f"{topic.name}/{where.partition}").offset
            for where, future in futures.items()
        }

    deadline = time.monotonic() + kafka.timeout_seconds
    while True:
        try:
            first, end = ask(offsets.earliest()), ask(offsets.latest())
        except LeaderMissing:  # the topic was made a moment ago, perhaps by the producer beside us
            if time.monotonic() > deadline:
                raise
            time.sleep(METADATA_SECONDS)
        else:
            return {partition: Bounds(first[partition], end[partition]) for partition in topic.partitions}


def _answer(
    kafka: KafkaSettings, future: "Future[Any]", missing: int | None = None, partition: str = ""
) -> Any:
    """What the broker answered, of `partition` where it was asked of one; None for the error code `missing`."""
    from confluent_kafka import KafkaError, KafkaException

    away = {
        KafkaError._TRANSPORT,  # noqa: SLF001 - librdkafka's local errors are spelled so
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
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
            KafkaError._NOENT,  # noqa: SLF001 - of no partition is a leader known
            KafkaError.LEADER_NOT_AVAILABLE,
            KafkaError.NOT_LEADER_FOR_PARTITION,
            KafkaError.UNKNOWN_LEADER_EPOCH,
            KafkaError.FENCED_LEADER_EPOCH,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            # For seconds after a failover: the new leader does not know yet how far the old one had come,
            # or the replica that is asked has lost its disk and another takes over.
            KafkaError.OFFSET_NOT_AVAILABLE,
            KafkaError.KAFKA_STORAGE_ERROR,
            KafkaError.REPLICA_NOT_AVAILABLE,
        }
        if cause.code() in leaderless:
            raise LeaderMissing(partition, f"{cause.str()} ({cause.name()})") from None
        unauthorized = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
        refused = BrokerRefused if cause.code() in unauthorized else TopicError
        raise refused(
            f"Kafka refused: {cause.str()} ({cause.name()}).",
            hint="Check the topic's name and what this user may do with it.",
        ) from None
    except TimeoutError:
        raise unreachable(kafka, kafka.timeout_seconds) from None
