"""One Spark session for the whole run: a JVM takes the connector's jars when it starts, or never."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import pytest
from hypothesis import HealthCheck, settings

from fraudstream.model.algorithms import be_patient

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
    """Deal out what starts services, whole modules, to the two halves of the list; unit tests stand at the end of each.

    Of two workers (`-n 2 --dist worksteal`) each gets a half, and takes from the end of the other's when it is through:
    unit tests, which start nothing. A module in two workers would start its services twice.
    """
    folder = Path(__file__).parent
    light = [item for item in items if item.path.is_relative_to(folder / "unit")]
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        if not item.path.is_relative_to(folder / "unit"):
            # Tests of the browser share one dashboard over one database, all of them.
            place = folder / "browser"
            modules.setdefault(place if item.path.is_relative_to(place) else item.path, []).append(item)
    first, second = (
        [item for module in list(modules.values())[half::2] for item in module] for half in (0, 1)
    )
    cut = max(0, len(items) // 2 - len(first))
    items[:] = [*first, *light[:cut], *second, *light[cut:]]


SPARKS = ("JAVA_HOME", "SPARK_LOCAL_IP", "PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")
"""What a session sets for its JVM. Commands that a test begins must not inherit it: they have to set it themselves."""


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator["SparkSession"]:
    """Spark as the program starts it; the jar cache is that of the person who runs the tests."""
    from fraudstream.settings import KafkaSettings, PostgresSettings, Settings
    from fraudstream.spark.command import spark_session
    from fraudstream.spark.scorer import CONF

    jars = os.environ.get("FRAUDSTREAM_JARS") or Path(platformdirs.user_cache_dir("fraudstream")) / "jars"
    given = Settings(
        _env_file=None,
        home=tmp_path_factory.mktemp("spark"),
        jars=Path(jars),
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
