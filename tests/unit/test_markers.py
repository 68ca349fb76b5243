"""What the look behind the last message does where Kafka cannot even be asked."""

from pathlib import Path

import pytest

from certificates import Authority
from fraudstream import kafka
from fraudstream.errors import CredentialsUnreadable
from fraudstream.kafka import Topic
from fraudstream.kafka.refusal import refusal
from fraudstream.settings import KafkaSettings
from fraudstream.spark.markers import silent_until

TOPIC, PLACES = Topic("t", "id", (0,)), {0: 5}


@pytest.fixture
def half_renewed(tmp_path: Path) -> KafkaSettings:
    """The certificate is the new one, and the key still the old one."""
    authority = Authority(tmp_path, "authority")
    old, new = authority.issue("old"), authority.issue("new")
    return KafkaSettings(
        bootstrap_servers="127.0.0.1:9",
        security_protocol="SSL",
        ssl_ca_file=authority.certificate,
        ssl_certificate_file=new.certificate,
        ssl_key_file=old.key,
    )


def test_a_key_that_is_replaced_after_its_certificate_ends_no_scorer_that_looks_for_markers(
    half_renewed: KafkaSettings,
) -> None:
    assert silent_until(half_renewed, TOPIC, PLACES) == {}


def test_a_password_file_that_is_empty_for_a_moment_ends_no_scorer_that_looks_for_markers(
    tmp_path: Path,
) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    login = KafkaSettings(
        bootstrap_servers="127.0.0.1:9",
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="ann",
        sasl_password_file=password,
    )
    password.write_text("")
    with pytest.raises(CredentialsUnreadable):
        kafka.client_config(login)
    assert silent_until(login, TOPIC, PLACES) == {}


def test_a_look_at_why_a_broker_refuses_us_says_what_is_wrong_with_our_own_key(
    half_renewed: KafkaSettings,
) -> None:
    with pytest.raises(CredentialsUnreadable, match="rejects these settings"):
        refusal(half_renewed)
