"""Why a broker rejects us, with the name of the setting.

librdkafka reports a wrong password, an untrusted certificate and a broker that is down in the same way: the request
timed out. So after a timeout we check again: what librdkafka logs while it connects, and, as it
logs the same for every certificate, a TLS handshake of our own.
"""

import re
import socket
import ssl
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fraudstream.errors import BrokerRefused
from fraudstream.kafka.clients import admin, servers
from fraudstream.settings import KafkaSettings, SecurityProtocol

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

LOOK_SECONDS = 3.0
"""Seconds for this check: a rejected login is reported after 0.3 s, a certificate within milliseconds."""
_NAMES = "FRAUDSTREAM_KAFKA__"
_ADDRESS = re.compile(r"\[?([^/,\s\[\]]+)\]?:(\d+)")
"""A host, without the brackets of an IPv6 address, and its port."""


def refusal(kafka: KafkaSettings) -> BrokerRefused | None:
    """Why the broker rejects us, or None if it may just be unavailable.

    Raises CredentialsUnreadable.
    """
    if kafka.security_protocol is SecurityProtocol.PLAINTEXT:
        return _wants_tls(servers(kafka))
    explained = (_explained(kafka, complaint) for complaint in _complaints(kafka))
    return next((found for found in explained if found is not None), None)


def _explained(kafka: KafkaSettings, complaint: "KafkaError") -> BrokerRefused | None:
    from confluent_kafka import KafkaError

    address, text = servers(kafka), _plain(complaint.str())
    if complaint.code() == KafkaError._AUTHENTICATION:
        return BrokerRefused(
            f"Kafka at {address} rejected the login of {kafka.sasl_username}: {text}.",
            hint=f"Check {_NAMES}SASL_USERNAME, __SASL_PASSWORD (or __SASL_PASSWORD_FILE) and __SASL_MECHANISM.",
        )
    if complaint.code() == KafkaError._SSL:
        return _untrusted(kafka, complaint.str()) or BrokerRefused(
            f"No TLS connection with Kafka at {address}: {text}.", hint=f"Check {_NAMES}SSL_CA_FILE."
        )
    if "alert" in text:
        return BrokerRefused(
            f"Kafka at {address} did not accept our certificate: {text}.",
            hint=f"Check {_NAMES}SSL_CERTIFICATE_FILE and __SSL_KEY_FILE.",
        )
    if "PLAINTEXT" in text:
        return BrokerRefused(
            f"Kafka at {address} does not speak TLS.",
            hint=f"Check {_NAMES}SECURITY_PROTOCOL, or the port in __BOOTSTRAP_SERVERS.",
        )
    return None


def _complaints(kafka: KafkaSettings) -> "Iterator[KafkaError]":
    """Errors that a client logs while it connects, for up to LOOK_SECONDS.

    Not only the first one: one of several brokers may be down, or a connection may just have broken.
    """
    told: list[KafkaError] = []
    client = admin(kafka, told.append)
    deadline = time.monotonic() + LOOK_SECONDS
    while time.monotonic() < deadline:
        client.poll(0.05)
        yield from told
        told.clear()


def _plain(text: str) -> str:
    """An error of librdkafka without its thread, state and OpenSSL's source lines."""
    text = re.sub(
        r"^\w+://\S+: | \(after \d+ms in state \w+\)|(\S+\.c:\d+:\w+ )?error:\w+:SSL routines::", "", text
    )
    return text.rpartition("SASL authentication error: ")[2].strip()


def _untrusted(kafka: KafkaSettings, text: str) -> BrokerRefused | None:
    """What is wrong with the broker's certificate, according to a handshake of our own."""
    found = _ADDRESS.search(text)
    if found is None:
        return None
    host, port = found[1], int(found[2])
    context = ssl.create_default_context(cafile=kafka.ssl_ca_file)
    try:
        with (
            socket.create_connection((host, port), LOOK_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message.rstrip(".")
        mismatch = "mismatch" in reason.lower()
        return BrokerRefused(
            f"The certificate of Kafka at {found[0]} was not accepted: {reason}.",
            hint=f"Use the name that the certificate is for in {_NAMES}BOOTSTRAP_SERVERS."
            if mismatch
            else f"Check {_NAMES}SSL_CA_FILE: it must contain the authority that signed the certificate.",
        )
    except OSError:
        return None  # our answer would be a guess; librdkafka's own message is used instead


def _wants_tls(addresses: str) -> BrokerRefused | None:
    """Whether a broker speaks TLS although the settings say PLAINTEXT. Any of them, as others may be down."""
    found = list(_ADDRESS.finditer(addresses))
    for server in found:
        if _speaks_tls(server[1], int(server[2]), LOOK_SECONDS / len(found)):
            return BrokerRefused(
                f"Kafka at {server[0]} speaks TLS, but the settings say PLAINTEXT.",
                hint=f"Set {_NAMES}SECURITY_PROTOCOL to SSL or SASL_SSL.",
            )
    return None


def _speaks_tls(host: str, port: int, seconds: float) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nothing is sent or trusted: it only matters whether the other side answers in TLS.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), seconds) as connection,
            context.wrap_socket(connection),
        ):
            return True
    except OSError:
        return False  # no TLS, or nobody is listening
