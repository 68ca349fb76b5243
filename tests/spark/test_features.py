"""Serving in Spark gives the features that training saw, from plain SQL expressions."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_world import entity_key, replay, world
from fraudstream.features.catalogue import ENTITIES, LAST_AT
from fraudstream.features.definitions import FEATURES, profile_columns
from fraudstream.features.training import view
from fraudstream.schema import FIELDS, KINDS
from fraudstream.spark.features import Serving, column_name, key_column
from plans import forbidden, plan

pytestmark = pytest.mark.usefixtures("far_from_utc")

NAMES = tuple(FEATURES)


def joined(spark: SparkSession, table: pa.Table, *, folded: bool = False) -> DataFrame:
    """Transactions beside the profiles that stood just before each, or just after; null where there was none."""
    read = profile_columns(NAMES)
    types = {LAST_AT: "long"}
    rows: list[tuple[Any, ...]] = []
    micros = table["timestamp"].cast(pa.int64()).to_pylist()
    fields = ["user_id", "device", "location", "transaction_location", "merchant_id", "amount"]
    for i, (row, ledger) in enumerate(replay(table, folded=folded)):
        values: list[Any] = [i, micros[i], *(row[field] for field in fields)]
        for entity, columns in read.items():
            at, state = ledger.profile(entity, row) or (None, {})
            values += [at if column == LAST_AT else state.get(column) for column in columns]
        rows.append(tuple(values))
    names = [column_name(entity, column) for entity, columns in read.items() for column in columns]
    ddl = ["i long", "timestamp long", *(f"{f} string" for f in fields[:-1]), "amount double"]
    ddl += [f"{name} {types.get(name.split('__')[1], 'double')}" for name in names]
    frame = spark.createDataFrame(rows, ", ".join(ddl))
    instants = ["timestamp", *(name for name in names if name.endswith(LAST_AT))]
    return frame.withColumns({name: F.timestamp_micros(F.col(name)) for name in instants})


def test_spark_and_the_training_view_agree_on_every_feature(spark: SparkSession) -> None:
    """800 transactions with null fields, empty profiles, ties and absurd amounts, to 1e-9."""
    table = world(800, seed=8)
    amounts = table["amount"].to_numpy().copy()
    amounts[400] = 1.7e308
    table = table.set_column(3, "amount", pa.array(amounts))
    served = Serving(NAMES).add(joined(spark, table)).orderBy("i").select(*NAMES).toPandas().to_numpy()
    trained = view(table, names=NAMES).values
    for i, name in enumerate(NAMES):
        np.testing.assert_allclose(served[:, i], trained[:, i], rtol=1e-9, atol=1e-9, err_msg=name)


def test_spark_leaves_a_transaction_that_was_stored_first_out_of_its_own_profiles(
    spark: SparkSession,
) -> None:
    """The same 800 behind their fold: every feature as if it were still to come."""
    table = world(800, seed=8)
    serving = Serving(NAMES, folded=F.lit(True))
    served = serving.add(joined(spark, table, folded=True)).orderBy("i").select(*NAMES).toPandas().to_numpy()
    trained = view(table, names=NAMES).values
    for i, name in enumerate(NAMES):
        np.testing.assert_allclose(served[:, i], trained[:, i], rtol=1e-6, atol=1e-6, err_msg=name)


def test_a_row_of_nulls_has_the_values_of_an_empty_profile(spark: SparkSession) -> None:
    """No profile and no optional field: every feature is a number, and the one that training gives."""
    frame = joined(spark, world(1)).withColumns(
        {
            name: F.lit(None).cast("string")
            for name in ("device", "location", "transaction_location", "merchant_id")
        }
    )
    served = Serving(NAMES).add(frame).select(*NAMES).first()
    nothing = world(1)
    for name in ("device", "location", "transaction_location", "merchant_id"):
        nothing = nothing.set_column(nothing.column_names.index(name), name, pa.nulls(1, pa.string()))
    assert served is not None
    np.testing.assert_allclose(list(served), view(nothing, names=NAMES).values[0], rtol=1e-12)


def test_a_late_transaction_meets_the_profile_as_it_is(spark: SparkSession) -> None:
    """The profile is a day ahead: nothing grows backwards, the time since the last one is zero."""
    frame = spark.sql(
        "select timestamp'2024-01-01 00:00:00Z' as timestamp, 1d as amount, 'u' as user_id,"
        " timestamp'2024-01-02 00:00:00Z' as user__last_at, 3d as user__count_1h"
    )
    row = Serving(("user_count_1h", "user_idle")).add(frame).first()
    assert row is not None
    assert (row["user_count_1h"], row["user_idle"]) == (3.0, 0.0)


def test_keys_in_spark_are_those_of_the_fold(spark: SparkSession) -> None:
    """Colons, quotes, empty texts, emoji; null where a field is null."""
    table = world(500, seed=9)
    fields = ["user_id", "device", "transaction_location", "merchant_id"]
    frame = spark.createDataFrame([tuple(row[f] for f in fields) for row in table.to_pylist()], fields)
    keys = frame.select(*(key_column(entity).alias(entity) for entity in ENTITIES)).collect()
    for row, key in zip(table.to_pylist(), keys, strict=True):
        assert key.asDict() == {entity: entity_key(entity, row) for entity in ENTITIES}


def test_features_are_plain_expressions_that_real_time_mode_allows(spark: SparkSession) -> None:
    """Two projections over the join and nothing else: no Python, no exchange, no aggregate."""
    served = Serving(NAMES).add(joined(spark, world(3)))
    assert forbidden(plan(served, "optimizedPlan")) == set()


def test_columns_of_the_transaction_stay_beside_its_features(spark: SparkSession) -> None:
    """`amount` is field and feature at once: it stands there once."""
    types = {"text": "string", "truth": "string", "float": "double", "instant": "timestamp"}
    frame = spark.createDataFrame([], ", ".join(f"{name} {types[KINDS[name]]}" for name in FIELDS))
    result = Serving(("amount", "location_change", "hour")).add(frame)
    seen = [name for name in result.columns if not name.startswith("__")]
    assert seen == [*frame.columns, "location_change", "hour"]


def test_only_the_columns_that_features_read_are_asked_for() -> None:
    assert profile_columns(("amount", "hour")) == {}
    assert profile_columns(("user_count_1h",)) == {"user": ("count_1h", LAST_AT)}
