"""What `doctor` says of servers that are not at hand."""

import json
from pathlib import Path

import pytest

from fraudstream.errors import DatabaseError, JarsMissing, ServiceError
from fraudstream.local import doctor, jars
from fraudstream.local.home import Home
from fraudstream.local.services import Endpoints
from fraudstream.settings import KafkaSettings, Settings, load
from fraudstream.store.migrate import refuse_version


@pytest.mark.parametrize("version", [90_624, 130_021])
def test_a_server_that_is_too_old_for_the_tables_is_told_before_they_are_made(version: int) -> None:
    """The fourth migration would fail for an operator class that PostgreSQL 13 does not have."""
    with pytest.raises(DatabaseError, match="14 or newer") as caught:
        refuse_version(version)
    assert "Upgrade the server" in caught.value.hint


@pytest.mark.parametrize("version", [140_000, 180_004])
def test_a_server_with_all_that_the_tables_need_is_taken(version: int) -> None:
    refuse_version(version)


def test_whoever_has_a_kafka_of_their_own_needs_no_jars_of_a_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host without a line to Maven is given Spark's jars alone; those of the embedded broker are asked for where it is used."""
    spark, own = jars.spark_set().name, KafkaSettings(bootstrap_servers="kafka.example:9092")
    monkeypatch.setattr(jars, "complaint", lambda wanted, _: None if wanted.name == spark else "missing")
    doctor._jars(Settings(_env_file=None, home=tmp_path, kafka=own))
    with pytest.raises(JarsMissing, match="missing"):
        doctor._jars(Settings(_env_file=None, home=tmp_path, kafka=KafkaSettings()))


def test_a_jar_cache_that_java_could_not_be_told_of_is_named_with_its_sign(tmp_path: Path) -> None:
    """It was called missing, and `jars fetch`, which was advised, refused it."""
    cache = tmp_path / "a,b"
    with pytest.raises(ServiceError, match="contains ',', which Java or Spark would not read") as caught:
        doctor._jars(Settings(_env_file=None, home=tmp_path, jars=cache, kafka=KafkaSettings()))
    assert "Set FRAUDSTREAM_JARS" in caught.value.hint


@pytest.mark.usefixtures("empty_environment")
def test_jars_that_the_embedded_broker_lacks_are_told_after_a_crash_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a `down`, its address outlives it: it was taken for a Kafka of one's own, which needs no jars."""
    home = Home(tmp_path / "home")
    home.root.mkdir()
    home.password.write_text("made-by-up")
    left = Endpoints("127.0.0.1:19092", "127.0.0.1", 9, "fraudstream", "fraudstream", home.password)
    home.endpoints.write_text(json.dumps(left.document()))
    spark = jars.spark_set().name
    monkeypatch.setattr(jars, "complaint", lambda wanted, _: None if wanted.name == spark else "missing")
    with pytest.raises(JarsMissing, match="missing"):
        doctor._jars(load())
