"""What one finds in books: a query with `from_json`, a filter on `is_fraud` and a JDBC append, one for each table."""

import tempfile
from typing import TYPE_CHECKING

from fraudstream.kafka import java_config
from fraudstream.schema import KINDS
from fraudstream.settings import Settings
from fraudstream.store.connection import connect

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

TABLES = {"transactions": False, "fraud_transactions": True}
"""Which truth goes where."""


def make_tables(settings: Settings) -> None:
    """Empty tables without a key."""
    kinds = {"text": "text", "instant": "timestamptz", "float": "float8", "truth": "bool"}
    columns = ", ".join(f'"{name}" {kinds[kind]}' for name, kind in KINDS.items())
    with connect(settings.postgres) as connection:
        connection.execute("drop schema if exists textbook cascade; create schema textbook")
        for table in TABLES:
            connection.execute(f"create table textbook.{table} ({columns})")


def count(settings: Settings) -> int:
    """Rows in both tables."""
    each = " + ".join(f"(select count(*) from textbook.{table})" for table in TABLES)
    with connect(settings.postgres) as connection:
        (found,) = connection.execute(f"select {each}".encode()).fetchone() or (0,)
    return int(found)


def start(spark: "SparkSession", settings: Settings, table: str) -> "StreamingQuery":
    """The query of one table, until the topic's end."""
    secret = settings.postgres.secret()
    properties = {
        "driver": "org.postgresql.Driver",
        "user": settings.postgres.user,
        "password": secret.get_secret_value() if secret else "",
    }
    postgres = settings.postgres
    url = f"jdbc:postgresql://{postgres.host}:{postgres.port}/{postgres.database}"

    def append(batch: "DataFrame", _: int) -> None:
        batch.write.jdbc(url, f"textbook.{table}", mode="append", properties=properties)

    return (
        _transactions(spark, settings, TABLES[table])
        .writeStream.foreachBatch(append)
        .option("checkpointLocation", tempfile.mkdtemp())
        .trigger(availableNow=True)
        .start()
    )


def _transactions(spark: "SparkSession", settings: Settings, is_fraud: bool) -> "DataFrame":
    from pyspark.sql import functions as F

    types = {"text": "string", "instant": "timestamp", "float": "double", "truth": "int"}
    schema = ", ".join(f"{name} {types[kind]}" for name, kind in KINDS.items())
    properties = {f"kafka.{name}": value for name, value in java_config(settings.kafka).items()}
    raw = (
        spark.readStream.format("kafka")
        .options(**properties)
        .option("subscribe", settings.kafka.transactions_topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", settings.spark.rows_per_batch)
        .load()
    )
    rows = raw.select(F.from_json(F.col("value").cast("string"), schema).alias("t")).select("t.*")
    return rows.filter(F.col("is_fraud") == int(is_fraud)).withColumn("is_fraud", F.lit(is_fraud))
