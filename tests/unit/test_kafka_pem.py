"""PEM files of Kafka's clients, as authorities and systems write them."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certificates import Authority
from fraudstream.errors import CredentialsUnreadable
from fraudstream.kafka import client_config, java_config
from fraudstream.kafka.pem import read_pem
from fraudstream.settings import KafkaSettings


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_bundle_with_comments_in_any_language_is_read_as_its_certificates_alone(
    encoding: str, tmp_path: Path
) -> None:
    """As RHEL's ca-bundle.crt, which names each authority in its own language above its certificate."""
    certificates = [Authority(tmp_path, name).certificate.read_text() for name in ("one", "two")]
    path = tmp_path / "ca-bundle.crt"
    path.write_bytes(
        "".join(f"# Főtanúsítvány Türkiye\n{text}" for text in certificates).encode(encoding, "replace")
    )
    assert read_pem(path) == "".join(certificates)
    settings = KafkaSettings(bootstrap_servers="kafka:9093", security_protocol="SSL", ssl_ca_file=path)
    assert client_config(settings)["ssl.ca.location"] == str(path)
    assert java_config(settings)["ssl.truststore.certificates"] == "".join(certificates)


@pytest.mark.parametrize("kind", ["RSA", "EC"])
@pytest.mark.parametrize("password", [None, "secret"])
def test_a_key_in_the_form_of_older_tools_is_one_that_java_takes(
    kind: str, password: str | None, tmp_path: Path
) -> None:
    """`openssl genrsa -traditional` and `openssl ecparam -genkey` write it; librdkafka takes it, and Java PKCS#8 alone."""
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    private = (
        rsa.generate_private_key(65537, 2048) if kind == "RSA" else ec.generate_private_key(ec.SECP256R1())
    )
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    pem, old = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    text = private.private_bytes(pem, old, encryption).decode()
    assert f"BEGIN {kind} PRIVATE KEY" in text
    key = tmp_path / "old.key"
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    key.write_text(text if kind == "RSA" else parameters + text)
    settings = KafkaSettings(
        bootstrap_servers="kafka:9093",
        security_protocol="SSL",
        ssl_certificate_file=Authority(tmp_path, "authority").issue("client").certificate,
        ssl_key_file=key,
        ssl_key_password=password,
    )
    plain = private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    assert java_config(settings)["ssl.keystore.key"] == plain.decode()


def test_a_key_beside_a_certificate_reaches_spark_only_in_the_option_that_it_masks(tmp_path: Path) -> None:
    """One file may have both, also the one of the authority, which is shown in plans."""
    issued = Authority(tmp_path, "authority").issue("client")
    both = tmp_path / "both.pem"
    both.write_text(issued.key.read_text() + issued.certificate.read_text())
    settings = KafkaSettings(
        bootstrap_servers="kafka:9093",
        security_protocol="SSL",
        ssl_ca_file=both,
        ssl_certificate_file=both,
        ssl_key_file=both,
    )
    assert client_config(settings)["ssl.key.location"] == str(both)
    shown = {name for name, value in java_config(settings).items() if "PRIVATE KEY" in value}
    assert shown == {"ssl.keystore.key"}


@pytest.mark.parametrize("text", ["", "no certificate\n", "-----BEGIN CERTIFICATE-----\nMIIB"])
def test_a_file_without_a_whole_block_is_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(text)
    with pytest.raises(CredentialsUnreadable, match=r"ca\.pem cannot be read as PEM: it has no PEM block"):
        read_pem(path)
