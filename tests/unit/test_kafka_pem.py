"""PEM files of Kafka's clients, as authorities and systems write them."""

from pathlib import Path

import pytest

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


@pytest.mark.parametrize("text", ["", "no certificate\n", "-----BEGIN CERTIFICATE-----\nMIIB"])
def test_a_file_without_a_whole_block_is_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(text)
    with pytest.raises(CredentialsUnreadable, match=r"ca\.pem cannot be read as PEM: it holds no PEM block"):
        read_pem(path)
