"""Tree tables in Spark ML's own on-disk format, so that the JVM scores them without Python or a jar of ours.

Spark has two: Parquet, which its executors read, and since 4.1 plain files, which only the driver reads. Ours is the
second, as the executors of a cluster do not see the driver's disk. Its rules, as of Spark 4.2:
- numbers as Java's DataOutput writes them, big-endian, an array after its length, a string after its length in two bytes;
- node ids are positions in pre-order; leaves have leftChild = rightChild = -1, gain = -1 and no threshold;
- RandomForestRegressionModel divides by the *parameter* numTrees (default 20), not by the number of trees;
- `impurity` must be in the model's paramMap and in every tree's defaultParamMap.
"""

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fraudstream.model.trees import Ensemble

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NODE = np.dtype(
    [
        ("tree", ">i4"),
        ("node", ">i4"),
        ("prediction", ">f8"),
        ("impurity", ">f8"),
        ("statistics_length", ">i4"),
        ("statistics", ">f8", 3),
        ("raw_count", ">i8"),
        ("gain", ">f8"),
        ("left", ">i4"),
        ("right", ">i4"),
        ("feature", ">i4"),
        ("thresholds", ">i4"),
        ("threshold", ">f8"),
        ("categories", ">i4"),
    ]
)
"""A node of Spark's file `data`; `threshold` is present if `thresholds` is 1."""
SPARK_CLASS = {"mean": "RandomForestRegressionModel", "sum": "GBTRegressionModel"}
"""Spark's model that combines trees in this way."""
PARAMETERS = {"featuresCol": "features", "predictionCol": "prediction"}


def write_spark(ensemble: Ensemble, path: Path, spark_version: str) -> None:
    """Write `ensemble` into the new directory `path`, as Spark ML would have saved it on the driver's disk.

    Raises FileExistsError if `path` exists.
    """
    path.mkdir(parents=True)
    (path / "data").write_bytes(_nodes(ensemble))
    (path / "treesMetadata").write_bytes(_trees(ensemble.trees, spark_version))
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
    (path / "metadata").write_text(json.dumps(metadata), encoding="utf-8")


def _trees(count: int, spark_version: str) -> bytes:
    """Number, description and weight of each tree."""
    tree = {
        "class": "org.apache.spark.ml.regression.DecisionTreeRegressionModel",
        "timestamp": 0,
        "sparkVersion": spark_version,
        "paramMap": {},
        "defaultParamMap": {"impurity": "variance"},
    }
    written = [struct.pack(">i", count)]
    for number in range(count):
        text = json.dumps({**tree, "uid": f"tree_{number}"}).encode("ascii")
        written.append(struct.pack(f">iH{len(text)}sd", number, len(text), text, 1.0))
    return b"".join(written)


def _nodes(ensemble: Ensemble) -> bytes:
    """Every node of every tree."""
    column = {name: ensemble.nodes[name].to_numpy() for name in ensemble.nodes.column_names}
    inner = column["left"] >= 0
    node = np.zeros(len(inner), NODE)
    for name in ("tree", "node", "left", "right", "feature", "threshold"):
        node[name] = column[name]
    node["prediction"] = column["value"]
    node["statistics_length"] = 3
    node["statistics"][:, 0] = column["count"]
    node["raw_count"] = column["count"]
    node["gain"] = np.where(inner, 0.0, -1.0)
    node["thresholds"] = inner
    node["categories"] = -1
    # Drops the threshold's bytes from leaves, which have none.
    written = np.ones((len(node), NODE.itemsize), np.bool_)
    start = NODE.itemsize - 12  # before `categories`, the last four bytes
    written[~inner, start : start + 8] = False
    return struct.pack(">i", len(node)) + node.view(np.uint8).reshape(written.shape)[written].tobytes()


def load_spark(spark: "SparkSession", ensemble: Ensemble, path: Path) -> Any:
    """Write `ensemble` to `path` and load it: a transformer that adds `prediction` to a vector column `features`.

    `ensemble.link.sql()` turns that into `risk`. No executor reads the path; the trees are sent with the query.
    """
    from pyspark.ml import regression

    write_spark(ensemble, path, spark.version)
    # A setting of the Java thread, of which each Python thread has its own.
    local: Any = spark._jvm.org.apache.spark.ml.util.ReadWriteUtils.localSavingModeState()  # type: ignore[union-attr]  # noqa: SLF001
    local.set(True)
    try:
        return getattr(regression, SPARK_CLASS[ensemble.combine]).load(str(path.resolve()))
    finally:
        local.remove()
