"""Jars through the real Ivy: from a repository on this disk, so no test needs the network."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fraudstream.errors import JarsMissing
from fraudstream.local import jars
from fraudstream.settings import Settings

_POM = """<project><modelVersion>4.0.0</modelVersion>
<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>
<dependencies>{dependencies}</dependencies></project>"""
_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
_SPARK = "org.apache.spark"


def _publish(repository: Path, jar: Path, group: str, needs: list[tuple[str, str, str]]) -> None:
    """Put a jar into a repository of Maven's layout."""
    artifact, _, version = jar.stem.rpartition("-")
    place = repository / group.replace(".", "/") / artifact / version
    place.mkdir(parents=True)
    shutil.copy(jar, place / jar.name)
    dependencies = "".join(_DEPENDENCY.format(*need) for need in needs)
    pom = _POM.format(group=group, artifact=artifact, version=version, dependencies=dependencies)
    (place / f"{jar.stem}.pom").write_text(pom)


@pytest.fixture
def repository(embedded: Settings, tmp_path: Path) -> Path:
    """The four jars of the connector, which also asks for two that PySpark has: those are nowhere."""
    real = {jar.stem.rpartition("-")[0]: jar for jar in jars.spark_jars(embedded)}
    groups = {"kafka-clients": "org.apache.kafka", "commons-pool2": "org.apache.commons"}
    top = f"spark-sql-kafka-0-10_{jars.SCALA}"
    needs = [
        (groups.get(name, _SPARK), name, jar.stem.rpartition("-")[2])
        for name, jar in real.items()
        if name != top
    ]
    needs += [("org.scala-lang", "scala-library", "2.13.18"), (_SPARK, f"spark-tags_{jars.SCALA}", "4.2.0")]
    for name, jar in real.items():
        _publish(tmp_path / "repository", jar, groups.get(name, _SPARK), needs if name == top else [])
    return tmp_path / "repository"


@pytest.fixture
def mirrored(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings with an empty cache, and the repository above instead of Maven Central."""
    elsewhere = tmp_path / "nobody"
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(elsewhere))
    ivy = tmp_path / "ivysettings.xml"
    ivy.write_text(
        '<ivysettings><settings defaultResolver="disk"/><resolvers>'
        f'<ibiblio name="disk" m2compatible="true" root="{repository.as_uri()}/"/></resolvers></ivysettings>'
    )
    yield Settings(_env_file=None, home=tmp_path / "home", jars=tmp_path / "cache", ivy_settings=ivy)
    assert list(elsewhere.iterdir()) == [], "something was written to the user's home directory"


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_jars_come_from_the_mirror_of_the_ivy_settings_and_stay(mirrored: Settings, repository: Path) -> None:
    fetched = jars.spark_jars(mirrored)
    assert {path.name for path in fetched} == jars.spark_set().pins.keys()
    shutil.rmtree(repository)
    assert jars.spark_jars(mirrored) == fetched, "cached jars need no network"
    lock = f".{jars.spark_set().name}.lock"
    assert _names(mirrored.jar_cache) == {jars.spark_set().name, lock}, "nothing temporary is left"


def test_a_spoilt_jar_is_fetched_again(mirrored: Settings) -> None:
    spoilt = jars.spark_jars(mirrored)[0]
    spoilt.write_bytes(spoilt.read_bytes()[:-1])
    assert jars.complaint(jars.spark_set(), spoilt.parent)
    jars.spark_jars(mirrored)
    assert jars.complaint(jars.spark_set(), spoilt.parent) is None


def test_a_repository_with_other_jars_is_refused(mirrored: Settings, repository: Path) -> None:
    forged = next(repository.rglob("commons-pool2-*.jar"))
    forged.write_bytes(forged.read_bytes() + b"\0")
    with pytest.raises(JarsMissing, match="differ from the published ones"):
        jars.spark_jars(mirrored)
    assert not (mirrored.jar_cache / jars.spark_set().name).exists()


def test_jars_that_can_be_had_nowhere_are_a_sentence(mirrored: Settings, repository: Path) -> None:
    shutil.rmtree(repository)
    with pytest.raises(JarsMissing, match="not cached and could not be fetched") as raised:
        jars.spark_jars(mirrored)
    assert "FRAUDSTREAM_JARS" in raised.value.hint
    assert not (mirrored.jar_cache / jars.spark_set().name).exists()


def test_two_that_fetch_at_once_fetch_once(mirrored: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    real, fetched, results = jars._ivy, [], []

    def counted(*arguments: object) -> None:
        fetched.append(arguments)
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(jars, "_ivy", counted)
    threads = [threading.Thread(target=lambda: results.append(jars.spark_jars(mirrored))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert len(fetched) == 1
