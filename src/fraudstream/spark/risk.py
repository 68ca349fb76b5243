"""The model's part of a decision: from a row's features to `risk`.

Trees run inside the JVM. A user's own estimator runs in Spark's Python workers, which real-time mode does not allow.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from fraudstream.errors import InputError
from fraudstream.model.artifact import Model
from fraudstream.model.trees import Ensemble
from fraudstream.spark.trees import load_spark

RiskStep = Callable[[DataFrame], DataFrame]
"""Adds `risk` to rows that have the model's features."""

_VECTOR: Final = "__features"


def trees_of(model: Model, *, python: bool) -> Ensemble | None:
    """The model's trees; None if it needs Python to score. Raises InputError if it does and `python` is false."""
    ensemble = model.trees()
    if ensemble is None and not python:
        raise InputError(
            f"Model {model.version} ({model.algorithm}) has no trees that Spark could run: it scores in Python.",
            hint="Score with `fraudstream score --mode microbatch`.",
        )
    return ensemble


def risk_step(spark: SparkSession, model: Model, *, python: bool) -> RiskStep:
    """The step that adds the model's risk. Raises InputError like `trees_of`, or if the estimator cannot be loaded."""
    ensemble = trees_of(model, python=python)
    return _estimator(model) if ensemble is None else risk_step_of_trees(spark, ensemble)


def risk_step_of_trees(spark: SparkSession, ensemble: Ensemble) -> RiskStep:
    """The step that adds the risk of these trees, inside the JVM."""
    from pyspark.ml.functions import array_to_vector

    with tempfile.TemporaryDirectory(prefix="fraudstream-model-") as directory:
        loaded = load_spark(
            spark, ensemble, Path(directory) / "trees"
        )  # all of it: the files are not needed afterwards
    trees = loaded.setFeaturesCol(_VECTOR)
    vector, risk = array_to_vector(F.array(*map(F.col, ensemble.features))), F.expr(ensemble.link.sql())

    def judge(rows: DataFrame) -> DataFrame:
        judged: DataFrame = trees.transform(rows.withColumn(_VECTOR, vector))
        return judged.withColumn("risk", risk)

    return judge


def _estimator(model: Model) -> RiskStep:
    from fraudstream.spark.estimator import risk_of

    risk = risk_of(model)
    return lambda rows: rows.withColumn("risk", risk)
