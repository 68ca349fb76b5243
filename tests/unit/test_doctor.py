"""What `doctor` says of servers that are not at hand."""

import json
from pathlib import Path

import pytest

from fraudstream.local import doctor, jars
from fraudstream.local.home import Home
from fraudstream.local.services import Endpoints
from fraudstream.settings import KafkaSettings, Settings, load


@pytest.mark.parametrize(
    ("version", "ok"), [(90_624, False), (130_021, False), (140_000, True), (180_004, True)]
)
def test_a_server_that_is_too_old_for_the_tables_is_told_before_they_are_made(version: int, ok: bool) -> None:
    """The fourth migration would fail for an operator class that PostgreSQL 13 does not have."""
    check = doctor._server("version x at db:5432", version, "UTF8")
    assert check.ok is ok
    if not ok:
        assert "14 or newer" in check.detail
        assert "Upgrade the server" in check.hint


def test_whoever_has_a_kafka_of_their_own_needs_no_jars_of_a_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host without a line to Maven is given Spark's jars alone; those of the embedded broker are asked for where it is used."""
    spark, own = jars.spark_set().name, KafkaSettings(bootstrap_servers="kafka.example:9092")
    monkeypatch.setattr(jars, "complaint", lambda wanted, _: None if wanted.name == spark else "missing")
    assert doctor._jars(Settings(_env_file=None, home=tmp_path, kafka=own)).ok
    assert not doctor._jars(Settings(_env_file=None, home=tmp_path, kafka=KafkaSettings())).ok


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
    assert not doctor._jars(load()).ok
