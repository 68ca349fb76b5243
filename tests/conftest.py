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
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("fraudstream")
# Two workers of pytest and their services share the cores: as in `train`, waiting threads must not spin.
be_patient()
# Spark's JVMs live for seconds here: the second compiler would take a fifth of all the CPU time for what is soon gone.
os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1")


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
    with spark_session(given, "tests", CONF) as session:
        yield session
