"""Spark scores the exported trees as scikit-learn does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
from pyspark.sql.functions import col
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier

from fraudstream.model.extract import Side, from_gradient_boosting, from_isolation_forest, from_random_forest
from fraudstream.model.trees import Ensemble
from fraudstream.spark.trees import load_spark
from model_world import sample

FEATURES = ("amount", "share", "flag", "a", "b")


def isolation_forest(x: Any, _y: Any) -> tuple[Ensemble, Callable[[Any], Any]]:
    forest = IsolationForest(n_estimators=100, contamination=0.1, random_state=42).fit(x)
    return from_isolation_forest(forest, FEATURES), lambda z: -forest.score_samples(z)


def bent_isolation_forest(x: Any, _y: Any) -> tuple[Ensemble, Callable[[Any], Any]]:
    """Fitted on a function of the features, exported over the features themselves."""
    sides = [Side(80.0), Side(0.1), Side(0.0), Side(0.5, falls=True), Side(-0.5)]

    def bend(z: Any) -> Any:
        return np.column_stack([side(z[:, j]) for j, side in enumerate(sides)])

    forest = IsolationForest(n_estimators=100, random_state=1).fit(bend(x))
    return from_isolation_forest(forest, FEATURES, sides), lambda z: -forest.score_samples(bend(z))


def random_forest(x: Any, y: Any) -> tuple[Ensemble, Callable[[Any], Any]]:
    forest = RandomForestClassifier(100, max_depth=8, random_state=0).fit(x, y)
    return from_random_forest(forest, FEATURES), lambda z: forest.predict_proba(z)[:, 1]


def gradient_boosting(x: Any, y: Any) -> tuple[Ensemble, Callable[[Any], Any]]:
    boosting = HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.05, max_leaf_nodes=8, l2_regularization=5, random_state=0
    ).fit(x, y)
    return from_gradient_boosting(boosting, FEATURES), lambda z: boosting.predict_proba(z)[:, 1]


def on_thresholds(ensemble: Ensemble, x: Any) -> Any:
    """Rows whose values lie exactly on a threshold, or one double or one float32 beside it."""
    rng = np.random.default_rng(1)
    x = x.copy()
    feature, threshold = (ensemble.nodes[n].to_numpy() for n in ("feature", "threshold"))
    for j in range(x.shape[1]):
        finite = (feature == j) & np.isfinite(threshold)
        limit = rng.choice(threshold[finite], len(x))
        single = limit.astype(np.float32)
        near = [
            limit,
            np.nextafter(limit, np.inf),
            np.nextafter(limit, -np.inf),
            single.astype(np.float64),
            np.nextafter(single, np.float32(np.inf)).astype(np.float64),
            x[:, j],
        ]
        x[:, j] = np.choose(rng.integers(0, len(near), len(x)), near)
    return x


@pytest.mark.parametrize("fit", [isolation_forest, bent_isolation_forest, random_forest, gradient_boosting])
def test_spark_gives_the_risk_that_scikit_learn_gives(
    spark: SparkSession, tmp_path: Path, fit: Callable[[Any, Any], tuple[Ensemble, Callable[[Any], Any]]]
) -> None:
    """For plain rows and for rows exactly on thresholds; numpy and Spark agree as well."""
    ensemble, expected = fit(*sample(4000, seed=0, noise=2))
    plain, _ = sample(2000, seed=5, noise=2)
    x = np.vstack([plain, on_thresholds(ensemble, plain)])
    frame = spark.createDataFrame([(row.tolist(),) for row in x], "x array<double>")
    model = load_spark(spark, ensemble, tmp_path / "model")
    scored = model.transform(frame.select(array_to_vector(col("x")).alias("features")))
    risk = np.array([row.risk for row in scored.selectExpr(f"{ensemble.link.sql()} as risk").collect()])
    assert np.abs(risk - expected(x)).max() < 1e-9
    assert np.abs(risk - ensemble.risk(x)).max() < 1e-12


def test_executors_that_do_not_see_the_drivers_disk_can_score(spark: SparkSession, tmp_path: Path) -> None:
    """Loading runs no job: the driver reads the files itself, and the trees travel with the query."""
    ensemble, _ = isolation_forest(*sample(500, seed=0, noise=2))
    context = spark.sparkContext
    context.setJobGroup("load", "loading a model")
    try:
        load_spark(spark, ensemble, tmp_path / "model")
    finally:
        context.setLocalProperty("spark.jobGroup.id", None)  # type: ignore[arg-type]
    assert list(context.statusTracker().getJobIdsForGroup("load")) == []
