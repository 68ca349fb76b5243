"""Clients of librdkafka, and the properties of Java's, from one setting."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fraudstream.errors import BrokerUnreachable, CredentialsUnreadable, SettingsError
from fraudstream.kafka.pem import as_java_takes_it, passwords, read_pem
from fraudstream.settings import KafkaSettings, SaslMechanism, SecurityProtocol

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
    from confluent_kafka.admin import AdminClient


def servers(kafka: KafkaSettings) -> str:
    """The bootstrap servers. Raises SettingsError if none are set and none are embedded."""
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
            read_pem(path, secret=True)  # an unreadable file is reported as an error of ours, not OpenSSL's
            wanted[name] = str(path)
    return {name: value for name, value in wanted.items() if value is not None}


def inline_config(kafka: KafkaSettings) -> dict[str, str]:
    """The same with the contents of the files, for tasks on other machines. Raises SettingsError, CredentialsUnreadable."""
    contents = {
        "ssl.ca.location": "ssl.ca.pem",
        "ssl.certificate.location": "ssl.certificate.pem",
        "ssl.key.location": "ssl.key.pem",
    }
    return {
        contents.get(name, name): read_pem(Path(value), secret=name == "ssl.key.location")
        if name in contents
        else value
        for name, value in client_config(kafka).items()
    }


def producer(kafka: KafkaSettings, more: Mapping[str, Any]) -> "Producer":
    """A producer with `more` properties: idempotent, as all of ours, so that a retry stores nothing twice.

    Raises SettingsError, or CredentialsUnreadable if librdkafka cannot use the certificate or the key.
    """
    from confluent_kafka import KafkaException, Producer

    config = {
        **client_config(kafka),
        "enable.idempotence": True,  # implies acks=all and an order that retries preserve
        "acks": "all",
        # As in the Java client, so that all producers of a company map a key to the same partition.
        "partitioner": "murmur2_random",
        # 77 MB of messages become 21 MB of log for 0.3 us of CPU each (zstd: 1.0 us); the broker
        # has less to write, and every reader less to fetch.
        "compression.type": "lz4",
        **more,
    }
    try:
        return Producer(config)
    except KafkaException as error:
        raise _unusable(error) from None


COMMITTED: Final[Mapping[str, Any]] = {
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 10,  # the end is reported after a fetch has found nothing for this long
    "log_level": "0",
}
"""Properties of consumers that read committed messages from given offsets on, and report the ends of partitions."""


def reader(
    kafka: KafkaSettings, topic: str, places: Mapping[int, int], purpose: str, **more: Any
) -> "Consumer":
    """A consumer of a topic's committed messages from these offsets on, which also reports the ends of partitions (`is_end`).

    For a look of seconds, so without a word if the broker is away: what asks for it is a stream, which notices that by
    itself. Raises BrokerUnreachable, CredentialsUnreadable, KafkaException while it cannot be used.
    """
    from confluent_kafka import Consumer, TopicPartition

    options: dict[str, Any] = {
        "group.id": f"fraudstream-{purpose}",
        "error_cb": _ignore,
        **COMMITTED,
        **more,
    }
    consumer = Consumer(client_config(kafka) | options)
    consumer.assign([TopicPartition(topic, *place) for place in places.items()])
    return consumer


def is_end(message: "Message") -> bool:
    """Whether a `reader` reports the end of a partition, at the message's offset."""
    from confluent_kafka import KafkaError

    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def java_config(kafka: KafkaSettings) -> dict[str, str]:
    """Properties of Java clients, for example Spark's source (each then with the prefix `kafka.`).

    Java accepts PEM key stores since Kafka 2.7, so both clients can use the same files; its client key
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
        config |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": read_pem(kafka.ssl_certificate_file),
            "ssl.keystore.key": as_java_takes_it(read_pem(kafka.ssl_key_file, secret=True), key_password),
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


def _ignore(_error: object) -> None:
    """Ignore broker-down events: they are also in the response to the request."""


def admin(kafka: KafkaSettings, complain: Callable[["KafkaError"], None] = _ignore) -> "AdminClient":
    """An admin client. librdkafka's own log is dropped by default: what matters is returned as an error.

    Raises SettingsError, or CredentialsUnreadable if librdkafka cannot use the certificate or the key.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    config: dict[str, Any] = {**client_config(kafka), "log_level": "0", "error_cb": complain}
    try:
        return AdminClient(config)
    except KafkaException as error:
        raise _unusable(error) from None


def _unusable(error: "KafkaException") -> CredentialsUnreadable:
    reason = error.args[0].str().removeprefix("Failed to create admin client: ")
    return CredentialsUnreadable(
        f"Kafka's client rejects these settings: {reason}.",
        hint="Check FRAUDSTREAM_KAFKA__SSL_CERTIFICATE_FILE, __SSL_KEY_FILE and __SSL_KEY_PASSWORD.",
    )


def unreachable(kafka: KafkaSettings, seconds: float, detail: str = "") -> BrokerUnreachable:
    """The error for a broker that did not answer in time: why it rejects us, if that can be determined."""
    from fraudstream.kafka.refusal import refusal

    return refusal(kafka) or BrokerUnreachable(servers(kafka), seconds, detail)
