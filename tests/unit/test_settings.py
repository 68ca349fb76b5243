"""Where a setting comes from, and what never leaves it."""

import json
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from fraudstream.errors import BrokerRefused, SettingsError
from fraudstream.kafka import client_config, java_config
from fraudstream.settings import (
    ENDPOINTS,
    DashboardSettings,
    KafkaSettings,
    PostgresSettings,
    described,
    load,
    load_bare,
    on_embedded,
)

pytestmark = pytest.mark.usefixtures("empty_environment")


def test_a_flag_beats_the_environment_which_beats_the_env_file_which_beats_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load().kafka.partitions == 4
    (tmp_path / ".env").write_text("FRAUDSTREAM_KAFKA__PARTITIONS=5\nCOMPOSE_PROJECT_NAME=x\n")
    assert load().kafka.partitions == 5
    monkeypatch.setenv("FRAUDSTREAM_KAFKA__PARTITIONS", "6")
    assert load().kafka.partitions == 6
    assert load(kafka={"partitions": 7, "bootstrap_servers": None}).kafka.partitions == 7


def _embedded(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "password").write_text("made-by-up\n")
    endpoints = {
        "kafka": {"bootstrap_servers": "127.0.0.1:19092"},
        "postgres": {"host": "127.0.0.1", "port": 55433, "password_file": str(tmp_path / "password")},
    }
    (tmp_path / "home" / ENDPOINTS).write_text(json.dumps(endpoints))


def test_with_nothing_set_the_embedded_services_are_used(tmp_path: Path) -> None:
    _embedded(tmp_path)
    settings = load()
    assert settings.kafka.bootstrap_servers == "127.0.0.1:19092"
    assert (settings.postgres.host, settings.postgres.port) == ("127.0.0.1", 55433)
    secret = settings.postgres.secret()
    assert secret is not None
    assert secret.get_secret_value() == "made-by-up"


def test_the_embedded_password_never_goes_to_another_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _embedded(tmp_path)
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__HOST", "db.example")
    settings = load()
    assert (settings.postgres.host, settings.postgres.port) == ("db.example", 5432)
    assert settings.postgres.secret() is None
    assert settings.kafka.bootstrap_servers == "127.0.0.1:19092"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("USER", "ann"),
        ("PORT", "5432"),
        ("DATABASE", "shop"),
        ("PASSWORD", "hush-hush"),
        ("PASSWORD_FILE", "pw"),
    ],
)
def test_a_part_of_an_address_without_its_host_is_refused_while_embedded_services_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    """Their address would replace it in silence, and a command would work on another database than was meant."""
    (tmp_path / "pw").write_text("hush-hush")
    monkeypatch.setenv(f"FRAUDSTREAM_POSTGRES__{name}", value)
    assert load().postgres.host is None
    _embedded(tmp_path)
    with pytest.raises(
        SettingsError, match=f"FRAUDSTREAM_POSTGRES__{name} .* without FRAUDSTREAM_POSTGRES__HOST"
    ) as no:
        load()
    assert "FRAUDSTREAM_POSTGRES__HOST, too" in no.value.hint
    assert "hush-hush" not in no.value.message + no.value.hint
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__HOST", "localhost")
    assert load().postgres.host == "localhost"


def test_how_to_reach_postgresql_may_be_set_for_embedded_services_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _embedded(tmp_path)
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__RETRY_SECONDS", "7")
    assert (load().postgres.retry_seconds, load().postgres.port) == (7.0, 55433)


def test_what_must_never_reach_a_companys_own_services_is_on_the_embedded_ones_whatever_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The demo and its pages; nothing of the other address is left, wherever it stands."""
    _embedded(tmp_path)
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__HOST", "db.example")
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__RETRY_SECONDS", "7")
    (tmp_path / ".env").write_text(
        "FRAUDSTREAM_POSTGRES__PASSWORD=hush-hush\nFRAUDSTREAM_POSTGRES__SSLMODE=verify-full\n"
        "FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS=kafka.example:9092\nFRAUDSTREAM_DASHBOARD__PORT=8600\n"
    )
    settings = on_embedded(load_bare())
    assert settings.kafka.bootstrap_servers == "127.0.0.1:19092"
    assert settings.postgres.address == "127.0.0.1:55433/fraudstream"
    secret = settings.postgres.secret()
    assert secret is not None
    assert secret.get_secret_value() == "made-by-up"
    assert settings.postgres.sslmode == "prefer"
    assert (settings.postgres.retry_seconds, settings.dashboard.port) == (7.0, 8600)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b'{"kafka":',
        b'{"kafka": 5}',
        b"[]",
        b"\xff\xfe",
        b'{"postgres": {"host": "127.0.0.1", "port": 99999999}}',
        b'{"kafka": {"colour": "red"}}',
    ],
)
def test_a_damaged_endpoints_file_is_one_sentence(tmp_path: Path, damage: bytes) -> None:
    """Those who need no address, as `down` and `up` do, load without it: else the advice would lead nowhere."""
    _embedded(tmp_path)
    (tmp_path / "home" / ENDPOINTS).write_bytes(damage)
    with pytest.raises(SettingsError, match=r"endpoints.json cannot be read: .*[^.]\.$") as caught:
        load()
    assert "`fraudstream down` and `fraudstream up`" in caught.value.hint
    assert load_bare().kafka.bootstrap_servers is None


def test_a_home_that_is_a_file_is_named_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FRAUDSTREAM_HOME", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match=r"/file cannot be used: Not a directory\.$") as caught:
        load()
    assert "Set FRAUDSTREAM_HOME to a directory" in caught.value.hint


def test_a_path_may_begin_with_a_tilde_or_be_relative_wherever_it_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No shell expands what stands in `.env`, in compose or in a unit of systemd, and services outlive a directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for file in ("secret", "pem", "rules.yaml", "ivy.xml"):
        (tmp_path / file).write_text("x")
    paths = {
        "HOME": "~/home",
        "JARS": "jars",
        "IVY_SETTINGS": "~/ivy.xml",
        "KAFKA__SASL_PASSWORD_FILE": "~/secret",
        "KAFKA__SSL_CA_FILE": "~/pem",
        "KAFKA__SSL_CERTIFICATE_FILE": "./pem",
        "KAFKA__SSL_KEY_FILE": "~/pem",
        "KAFKA__SSL_KEY_PASSWORD_FILE": "~/secret",
        "POSTGRES__PASSWORD_FILE": "~/secret",
        "POSTGRES__SSLROOTCERT": "x/../pem",
        "DASHBOARD__PASSWORD_FILE": "~/secret",
        "SCORE__RULES": "~/rules.yaml",
    }
    monkeypatch.delenv("FRAUDSTREAM_HOME")
    (tmp_path / ".env").write_text("".join(f"FRAUDSTREAM_{name}={path}\n" for name, path in paths.items()))
    settings = load()
    for name, path in paths.items():
        found = attrgetter(name.lower().replace("__", "."))(settings)
        assert found == tmp_path / Path(path).name, name


def test_the_authorities_of_the_system_are_a_word_and_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__SSLROOTCERT", "system")
    assert load().postgres.sslrootcert == "system"


@pytest.mark.parametrize("name", ["FRAUDSTREAM_HOME", "FRAUDSTREAM_POSTGRES__SSLROOTCERT"])
def test_a_tilde_of_nobody_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Once, and by the variable alone, where a path is one of two things that may be set."""
    monkeypatch.setenv(name, "~nobody-of-this-name/x")
    with pytest.raises(SettingsError, match=rf"^{name}: Could not determine home directory\.$"):
        load()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_secret_can_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoding: str
) -> None:
    """Also of an editor on Windows, which begins it with a byte order mark."""
    (tmp_path / "secret").write_text("s3cret\r\n", encoding=encoding)
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__PASSWORD_FILE", str(tmp_path / "secret"))
    secret = load().postgres.secret()
    assert secret is not None
    assert secret.get_secret_value() == "s3cret"


@pytest.mark.parametrize(
    "name",
    [
        "KAFKA__SASL_PASSWORD_FILE",
        "KAFKA__SSL_KEY_PASSWORD_FILE",
        "POSTGRES__PASSWORD_FILE",
        "DASHBOARD__PASSWORD_FILE",
    ],
)
def test_a_secret_file_that_is_empty_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """A secret that was not mounted yet would else be a login that is refused, somewhere else and later."""
    (tmp_path / "secret").write_text("\n")
    monkeypatch.setenv(f"FRAUDSTREAM_{name}", str(tmp_path / "secret"))
    with pytest.raises(SettingsError, match=f"{name.partition('__')[2].lower()} is empty: {tmp_path}/secret"):
        load()


def test_a_secret_and_its_file_contradict_each_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__PASSWORD_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__PASSWORD", "hush-hush")
    with pytest.raises(SettingsError, match="password and password_file are both set") as caught:
        load()
    assert "hush-hush" not in str(caught.value)


def test_a_missing_secret_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__PASSWORD_FILE", "/nowhere/secret")
    with pytest.raises(
        SettingsError, match=r"FRAUDSTREAM_POSTGRES: password_file cannot be read: .*/nowhere/secret"
    ):
        load()


def test_every_mistake_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUDSTREAM_KAFKA__PARTITIONS", "many")
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__PORT", "0")
    with pytest.raises(SettingsError) as caught:
        load()
    for name in ("FRAUDSTREAM_KAFKA__PARTITIONS:", "FRAUDSTREAM_POSTGRES__PORT:"):
        assert name in caught.value.message


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("FRAUDSTREAM_KAFKA_BOOTSTRAP_SERVERS", "FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS"),
        ("FRAUDSTREAM_KAFKA__PARTITONS", "FRAUDSTREAM_KAFKA__PARTITIONS"),
        ("FRAUDSTREAM_POSGRES__HOST", "FRAUDSTREAM_POSTGRES__HOST"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_right_one(
    monkeypatch: pytest.MonkeyPatch, wrong: str, right: str
) -> None:
    """Ignored in silence, it would send the stream to the wrong Kafka."""
    monkeypatch.setenv(wrong, "1")
    with pytest.raises(SettingsError, match=f"Unknown setting: {wrong}") as caught:
        load()
    assert right in caught.value.hint


SERVICE_LINKS = {
    "FRAUDSTREAM_PORT": "tcp://10.96.7.7:8501",
    "FRAUDSTREAM_DNS_PORT": "udp://10.96.7.8:53",
    "FRAUDSTREAM_DASHBOARD_SERVICE_HOST": "10.96.7.7",
    "FRAUDSTREAM_DASHBOARD_SERVICE_PORT": "8501",
    "FRAUDSTREAM_DASHBOARD_SERVICE_PORT_HTTP": "8501",
    "FRAUDSTREAM_DASHBOARD_PORT": "tcp://10.96.7.7:8501",
    "FRAUDSTREAM_DASHBOARD_PORT_8501_TCP": "tcp://10.96.7.7:8501",
    "FRAUDSTREAM_DASHBOARD_PORT_8501_TCP_PROTO": "tcp",
    "FRAUDSTREAM_DASHBOARD_PORT_8501_TCP_PORT": "8501",
    "FRAUDSTREAM_DASHBOARD_PORT_8501_TCP_ADDR": "10.96.7.7",
}
"""What Kubernetes puts into every later pod of the namespace for a Service called `fraudstream` or `fraudstream-…`."""


def test_what_kubernetes_says_of_services_of_our_name_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICE_LINKS.items():
        monkeypatch.setenv(name, value)
    assert load().dashboard.port == DashboardSettings().port


@pytest.mark.parametrize(
    "name", ["FRAUDSTREAM_DASHBOARD_PORT", "FRAUDSTREAM_POSTGRES_PORT", "FRAUDSTREAM_KAFKA__SERVICE_HOST"]
)
def test_a_setting_that_only_resembles_a_service_link_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "8501")
    with pytest.raises(SettingsError, match=f"Unknown setting: {name}"):
        load()


@pytest.mark.parametrize(
    "name", ["FRAUDSTREAM_KAFKA__PARTITONS", "fraudstream_kafka__partitons", "FRAUDSTREAM_KAFKA"]
)
def test_a_misspelt_name_in_the_env_file_is_refused_as_one_in_the_environment(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / ".env").write_text(f"COMPOSE_PROJECT_NAME=x\nKAFKA_CLUSTER_ID=y\n{name}=garbage\n")
    with pytest.raises(SettingsError, match=f"Unknown setting: {name.upper()} in \\.env\\.") as caught:
        load()
    assert "FRAUDSTREAM_KAFKA__" in caught.value.hint


def test_an_env_file_that_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"FRAUDSTREAM_KAFKA__SASL_USERNAME=J\xfcrgen\n")
    with pytest.raises(SettingsError, match=r"^\.env cannot be read: .*utf-8") as caught:
        load()
    assert "UTF-8" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A=1\n\n# ours\nFRAUDSTREAM_KAFKA__SECURITY_PROTOCOL: SASL_SSL\n", 4),
        ("fraudstream_postgres__password='hush-hush\n", 1),
        ("A='x\nFRAUDSTREAM_POSTGRES__PASSWORD='hush-hush'\n", 1),
    ],
    ids=["colon", "unclosed quote", "unclosed quote before"],
)
def test_a_line_of_the_env_file_that_cannot_be_read_is_named_without_what_it_says(
    tmp_path: Path, text: str, line: int
) -> None:
    """It was left out: the command went on with defaults, and sent everything in plain text."""
    (tmp_path / ".env").write_text(text)
    with pytest.raises(SettingsError, match=rf"^\.env cannot be read in line {line}\.$") as caught:
        load()
    assert "hush" not in caught.value.hint


def test_a_password_in_the_env_file_is_taken_as_it_stands(tmp_path: Path) -> None:
    """A `${x}` in it was replaced by nothing, even in single quotes."""
    (tmp_path / ".env").write_text(
        "FRAUDSTREAM_POSTGRES__PASSWORD='pa${x}ss'\nFRAUDSTREAM_MODEL__LABEL_DELAY_DAYS=\n"
    )
    password = load().postgres.password
    assert password is not None
    assert password.get_secret_value() == "pa${x}ss"


def test_lines_of_others_in_the_env_file_are_their_own_affair(tmp_path: Path) -> None:
    """Compose reads the same file, and takes a colon."""
    (tmp_path / ".env").write_text("COMPOSE_PROJECT_NAME: x\nFRAUDSTREAM_KAFKA__PARTITIONS=5\n")
    assert load().kafka.partitions == 5


@pytest.mark.parametrize("seconds", ["inf", "1e12", "nan", "-1"])
@pytest.mark.parametrize("name", sorted(name for name in described() if name.endswith("_SECONDS")))
def test_seconds_that_no_clock_counts_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, seconds: str
) -> None:
    """Kafka and Spark would end a command with an error of their own."""
    monkeypatch.setenv(name, seconds)
    with pytest.raises(SettingsError, match=f"{name}: "):
        load()


def test_a_variable_that_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose hands on variables that nobody set as empty ones."""
    monkeypatch.setenv("FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS", "")
    assert load().kafka.bootstrap_servers is None


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, setting in described().items() if not setting.meaning] == []


def test_settings_are_frozen_and_masked() -> None:
    settings = PostgresSettings(password="hush-hush")  # noqa: S106
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]
    assert "hush-hush" not in repr(settings)
    assert "hush-hush" not in settings.model_dump_json()


def test_sasl_without_its_parts_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="also needs sasl_mechanism, sasl_username, sasl_password"):
        KafkaSettings(security_protocol="SASL_SSL")


@pytest.mark.parametrize(
    ("mechanism", "module"),
    [
        ("SCRAM-SHA-256", "scram.ScramLoginModule"),
        ("SCRAM-SHA-512", "scram.ScramLoginModule"),
        ("PLAIN", "plain.PlainLoginModule"),
    ],
)
def test_one_setting_serves_both_kafka_clients(mechanism: str, module: str, tmp_path: Path) -> None:
    """A quote or a backslash in a password stays inside the JAAS string."""
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    kafka = KafkaSettings.model_validate(
        {
            "bootstrap_servers": "kafka:9093",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": mechanism,
            "sasl_username": "ann",
            "sasl_password": 'a"b\\c; d',
            "ssl_ca_file": tmp_path / "ca.pem",
        }
    )
    assert client_config(kafka) == {
        "bootstrap.servers": "kafka:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": mechanism,
        "sasl.username": "ann",
        "sasl.password": 'a"b\\c; d',
        "ssl.ca.location": str(tmp_path / "ca.pem"),
    }
    java = java_config(kafka)
    assert java["sasl.jaas.config"] == (
        f'org.apache.kafka.common.security.{module} required username="ann" password="a\\"b\\\\c; d";'
    )
    assert java["ssl.truststore.certificates"].startswith("-----BEGIN")
    assert 'a"b' not in repr(kafka)


@pytest.mark.parametrize("config", [client_config, java_config])
def test_a_secret_file_that_cannot_be_read_for_a_moment_is_waited_for_by_what_runs(
    config: Callable[[KafkaSettings], Any], tmp_path: Path
) -> None:
    """It is written anew, or its mount is away: at a start the settings are wrong (2), later it is a refusal like others."""
    password, authority = tmp_path / "password", tmp_path / "ca.pem"
    password.write_text("secret")
    authority.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    kafka = KafkaSettings.model_validate(
        {
            "bootstrap_servers": "kafka:9093",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_username": "ann",
            "sasl_password_file": password,
            "ssl_ca_file": authority,
        }
    )
    before = config(kafka)
    for file, name in ((password, "SASL_PASSWORD_FILE"), (authority, "SSL_")):
        content = file.read_text()
        file.write_text("")
        with pytest.raises(BrokerRefused, match=str(file)) as caught:
            config(kafka)
        assert caught.value.exit_code == 2
        assert name in caught.value.hint
        file.write_text(content)
    assert config(kafka) == before


def test_no_kafka_at_all_says_what_to_do() -> None:
    with pytest.raises(SettingsError, match="No Kafka is set") as caught:
        client_config(load().kafka)
    assert "fraudstream up" in caught.value.hint


def test_an_error_in_the_settings_repeats_nothing_of_a_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither the byte that is not UTF-8, nor the password in a URL, which each message about the address would name."""
    (tmp_path / "secret").write_bytes(b"caf\xe9")
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__PASSWORD_FILE", str(tmp_path / "secret"))
    with pytest.raises(SettingsError, match="password_file is not UTF-8") as caught:
        load()
    assert "e9" not in caught.value.message
    monkeypatch.delenv("FRAUDSTREAM_POSTGRES__PASSWORD_FILE")
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__HOST", "postgresql://me:hunter2@db.example/shop")
    with pytest.raises(SettingsError, match="host is a URL") as caught:
        load()
    assert "hunter2" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"TRANSACTIONS_TOPIC": "payments", "SCORED_TOPIC": "payments"}, "would read its own decisions"),
        ({"BOOTSTRAP_SERVERS": "one.example:9092,two.example"}, "'two.example' has no port"),
        ({"BOOTSTRAP_SERVERS": "\udcdc"}, "has no port"),
    ],
)
def test_what_one_of_the_two_kafka_clients_would_take_amiss_is_refused(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], words: str
) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"FRAUDSTREAM_KAFKA__{name}", value)
    with pytest.raises(SettingsError, match=words):
        load()
