"""The PEM files of Kafka's clients: certificates and keys, as Java wants them."""

from pathlib import Path

from fraudstream.errors import SettingsError


def opened(key: str, password: str) -> str:
    """A client's key without its password: Java 17 cannot open what OpenSSL has written since 2016 (PBES2).

    Raises SettingsError where the password is another one.
    """
    from cryptography.hazmat.primitives import serialization

    try:
        private = serialization.load_pem_private_key(key.encode(), password.encode())
    except (ValueError, TypeError):
        raise SettingsError(
            "The client's key cannot be opened with its password.",
            hint="Check FRAUDSTREAM_KAFKA__SSL_KEY_FILE and __SSL_KEY_PASSWORD (or __SSL_KEY_PASSWORD_FILE).",
        ) from None
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")


def read_pem(path: Path) -> str:
    """A PEM file. Raises SettingsError where it is none."""
    try:
        text = path.read_text(encoding="ascii")
        if "-----BEGIN " not in text:
            raise ValueError("it holds no PEM block")  # noqa: TRY301 - one sentence for all that may be wrong
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"{path} cannot be read as PEM: {reason}.", hint="Check FRAUDSTREAM_KAFKA__SSL_…_FILE."
        ) from None
    return text
