"""Credentials of Kafka's clients: passwords, and PEM files of certificates and keys, as Java needs them."""

import re
from pathlib import Path

from fraudstream.errors import CredentialsUnreadable
from fraudstream.settings import KafkaSettings

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_PKCS8 = "-----BEGIN PRIVATE KEY-----"


def passwords(kafka: KafkaSettings) -> tuple[str | None, str | None]:
    """The current passwords of the login and of the key. Raises CredentialsUnreadable."""
    try:
        password, key_password = kafka.password(), kafka.key_password()
    except ValueError as error:
        raise CredentialsUnreadable(
            f"{error}.",
            hint="Check FRAUDSTREAM_KAFKA__SASL_PASSWORD_FILE and __SSL_KEY_PASSWORD_FILE.",
        ) from None
    return (
        password.get_secret_value() if password else None,
        key_password.get_secret_value() if key_password else None,
    )


def as_java_takes_it(key: str, password: str | None) -> str:
    """Convert a client's key to PKCS#8 without a password, so that one file serves both clients.

    librdkafka accepts more formats. Java does not read `BEGIN RSA PRIVATE KEY`, and Java 17 cannot decrypt what OpenSSL has
    encrypted since 2016 (PBES2). Raises CredentialsUnreadable if the password is wrong.
    """
    if password is None and _PKCS8 in key:
        return key
    from cryptography.hazmat.primitives import serialization

    try:
        private = serialization.load_pem_private_key(key.encode(), password.encode() if password else None)
    except (ValueError, TypeError):
        raise CredentialsUnreadable(
            "The client's key cannot be opened with its password.",
            hint="Check FRAUDSTREAM_KAFKA__SSL_KEY_FILE and __SSL_KEY_PASSWORD (or __SSL_KEY_PASSWORD_FILE).",
        ) from None
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")


def read_pem(path: Path, *, secret: bool = False) -> str:
    """The blocks of a PEM file, without the text between them; those of keys only if it is `secret`.

    A file of certificates may have its key, too. Spark masks only the options that should have one.
    Raises CredentialsUnreadable if there is no block.
    """
    try:
        # Bundles name authorities in comments, in any encoding; the blocks themselves are ASCII.
        text = path.read_text(encoding="utf-8", errors="replace")
        found = _BLOCK.finditer(text)
        blocks = [f"{block[0]}\n" for block in found if secret or not block[1].endswith("PRIVATE KEY")]
        if not blocks:
            raise ValueError("it has no PEM block")  # noqa: TRY301 - one sentence for all errors
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CredentialsUnreadable(
            f"{path} cannot be read as PEM: {reason}.", hint="Check FRAUDSTREAM_KAFKA__SSL_…_FILE."
        ) from None
    return "".join(blocks)
