"""Tree tables in Spark ML's own on-disk format, so that the JVM scores them with no Python and no jar of ours.

What the format wants, as Spark 4.2 reads it:
- node ids are positions in pre-order; leaves have leftChild = rightChild = -1 and gain = -1;
- RandomForestRegressionModel divides by the *parameter* numTrees (default 20), not by the number of trees;
- `impurity` must stand in the model's paramMap and in every tree's defaultParamMap.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraudstream.model.trees import Ensemble

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SPLIT = pa.struct(
    [
        ("featureIndex", pa.int32()),
        ("leftCategoriesOrThreshold", pa.list_(pa.float64())),
        ("numCategories", pa.int32()),
    ]
)
NODE = pa.struct(
    [
        ("id", pa.int32()),
        ("prediction", pa.float64()),
        ("impurity", pa.float64()),
        ("impurityStats", pa.list_(pa.float64())),
        ("rawCount", pa.int64()),
        ("gain", pa.float64()),
        ("leftChild", pa.int32()),
        ("rightChild", pa.int32()),
        ("split", SPLIT),
    ]
)
SPARK_CLASS = {"mean": "RandomForestRegressionModel", "sum": "GBTRegressionModel"}
"""Which of Spark's models combines trees that way."""
PARAMETERS = {"featuresCol": "features", "predictionCol": "prediction"}


def write_spark(ensemble: Ensemble, path: Path, spark_version: str) -> None:
    """Write `ensemble` into the new directory `path`, as Spark ML would have saved it.

    Raises FileExistsError where `path` exists.
    """
    path.mkdir(parents=True)
    for part in ("data", "treesMetadata", "metadata"):
        (path / part).mkdir()
    pq.write_table(_data(ensemble), path / "data" / "part-00000.parquet")
    tree = {
        "class": "org.apache.spark.ml.regression.DecisionTreeRegressionModel",
        "timestamp": 0,
        "sparkVersion": spark_version,
        "paramMap": {},
        "defaultParamMap": {"impurity": "variance"},
    }
    trees = pa.table(
        {
            "treeID": pa.array(range(ensemble.trees), pa.int32()),
            "metadata": [json.dumps({**tree, "uid": f"tree_{t}"}) for t in range(ensemble.trees)],
            "weights": pa.array([1.0] * ensemble.trees, pa.float64()),
        }
    )
    pq.write_table(trees, path / "treesMetadata" / "part-00000.parquet")
    parameters: dict[str, Any] = {**PARAMETERS, "impurity": "variance"}
    if ensemble.combine == "mean":
        parameters["numTrees"] = ensemble.trees
    metadata = {
        "class": f"org.apache.spark.ml.regression.{SPARK_CLASS[ensemble.combine]}",
        "timestamp": 0,
        "sparkVersion": spark_version,
        "uid": "fraudstream",
        "paramMap": parameters,
        "defaultParamMap": PARAMETERS,
        "numFeatures": len(ensemble.features),
        "numTrees": ensemble.trees,
    }
    (path / "metadata" / "part-00000").write_text(json.dumps(metadata) + "\n", encoding="utf-8")


def _data(ensemble: Ensemble) -> pa.Table:
    """The nodes as Spark's `treeID, nodeData`."""
    nodes = ensemble.nodes
    column = {name: nodes[name].to_numpy() for name in nodes.column_names}
    inner = column["left"] >= 0
    size = len(inner)
    thresholds = pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], np.cumsum(inner)]), pa.int32()), pa.array(column["threshold"][inner])
    )
    counts = np.zeros((size, 3))
    counts[:, 0] = column["count"]
    statistics = pa.ListArray.from_arrays(
        pa.array(np.arange(size + 1) * 3, pa.int32()), pa.array(counts.ravel())
    )
    split = pa.StructArray.from_arrays(
        [
            pa.array(column["feature"], pa.int32()),
            thresholds,
            pa.array(np.full(size, -1), pa.int32()),
        ],
        fields=list(SPLIT),
    )
    node = pa.StructArray.from_arrays(
        [
            pa.array(column["node"], pa.int32()),
            pa.array(column["value"], pa.float64()),
            pa.array(np.zeros(size)),
            statistics,
            pa.array(column["count"], pa.int64()),
            pa.array(np.where(inner, 0.0, -1.0)),
            pa.array(column["left"], pa.int32()),
            pa.array(column["right"], pa.int32()),
            split,
        ],
        fields=list(NODE),
    )
    return pa.table({"treeID": pa.array(column["tree"], pa.int32()), "nodeData": node})


def load_spark(spark: "SparkSession", ensemble: Ensemble, path: Path) -> Any:
    """Write `ensemble` at `path` and load it: a transformer that adds `prediction` to a vector column `features`.

    `ensemble.link.sql("prediction")` makes `risk` of it. A local path: with executors elsewhere the driver
    still reads the files and the model travels inside the plan.
    """
    from pyspark.ml import regression

    write_spark(ensemble, path, spark.version)
    return getattr(regression, SPARK_CLASS[ensemble.combine]).load(path.resolve().as_uri())
