"""One Spark session for the whole run: a JVM takes the connector's jars when it starts, or never."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from environment import jar_cache
from fraudstream.local import jars
from fraudstream.model.algorithms import be_patient
from fraudstream.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# A busy machine must not fail a property; and examples that share a fixture each bring ids of their own.
settings.register_profile(
    "fraudstream",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("fraudstream")
# Two workers of pytest and their services share the cores: as in `train`, waiting threads must not spin.
be_patient()
# Spark's JVMs live for seconds here: the second compiler would take a fifth of all the CPU time for what is soon gone.
os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal out what starts services, whole modules, to parts of the list of one length; unit tests stand at their ends.

    Each worker (`-n 2 --dist worksteal`) begins with one part. When it is through, it takes the later half of what
    another has left: unit tests, which start nothing, and once those are few modules, too, or half of one.
    """
    parts = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    folder = Path(__file__).parent
    light = [item for item in items if item.path.is_relative_to(folder / "unit")]
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        if not item.path.is_relative_to(folder / "unit"):
            # Tests of the browser share one dashboard over one database, all of them.
            place = folder / "browser"
            modules.setdefault(place if item.path.is_relative_to(place) else item.path, []).append(item)
    heavy = list(modules.values())
    dealt: list[pytest.Item] = []
    for part in range(parts):
        dealt += [item for module in heavy[part::parts] for item in module]
        more = max(0, len(items) * (part + 1) // parts - len(dealt))
        dealt += light[:more]
        light = light[more:]
    items[:] = dealt


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    """A command that a test runs in this process sets our logger up: `caplog` of the next one would hear nothing of it."""
    ours = logging.getLogger("fraudstream")
    level, propagate, handlers = ours.level, ours.propagate, [*ours.handlers]
    yield
    ours.setLevel(level)
    ours.propagate, ours.handlers = propagate, handlers


_FILLED: set[Path] = set()
"""Jar caches that were found filled: to look into one takes as long as ten small tests."""


def _is_filled(cache: Path) -> bool:
    if cache not in _FILLED and jars.are_cached(Settings(_env_file=None, jars=cache)):
        _FILLED.add(cache)
    return cache in _FILLED


@pytest.fixture(autouse=True)
def _without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that would fetch jars fails here as it would on a train: with a network it only was slower.

    On a machine whose cache is not filled yet, whichever test comes first fills it.
    """
    if not _is_filled(jar_cache()):
        return
    for name, value in {"https_proxy": "http://127.0.0.1:9", "no_proxy": "localhost,127.0.0.1,::1"}.items():
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name.upper(), value)


@pytest.fixture(scope="session")
def filled_cache() -> Path:
    """The jar cache, for tests that start what needs it by themselves: filled, if that is the first run."""
    given = Settings(_env_file=None, jars=jar_cache())
    jars.kafka_jars(given)
    jars.spark_jars(given)
    return jar_cache()


SPARKS = ("JAVA_HOME", "SPARK_LOCAL_IP", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")
"""What a session sets for its JVM. Commands that a test begins must not inherit it: they have to set it themselves."""


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator["SparkSession"]:
    """Spark as the program starts it; the jar cache is that of the person who runs the tests."""
    from fraudstream.settings import KafkaSettings, PostgresSettings
    from fraudstream.spark.command import spark_session
    from fraudstream.spark.score import CONF

    given = Settings(
        _env_file=None,
        home=tmp_path_factory.mktemp("spark"),
        jars=jar_cache(),
        kafka=KafkaSettings(),
        postgres=PostgresSettings(),
    )
    before = {name: os.environ.get(name) for name in SPARKS}
    with spark_session(given, "tests", CONF) as session:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        yield session
