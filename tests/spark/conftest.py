"""What the tests of Spark share."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession


@pytest.fixture
def far_from_utc(spark: SparkSession) -> Iterator[None]:
    """A time zone that would show where UTC is not meant."""
    before = spark.conf.get("spark.sql.session.timeZone") or "UTC"
    spark.conf.set("spark.sql.session.timeZone", "Asia/Kathmandu")
    yield
    spark.conf.set("spark.sql.session.timeZone", before)
