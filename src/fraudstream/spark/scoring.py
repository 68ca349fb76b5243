"""From raw messages to decisions, as steps from DataFrame to DataFrame with no Python among them.

messages      a transaction, or why there is none
profiles      what is remembered of its customer, device, place and merchant
features      `features.serving`
risk          the trees, inside the JVM
rules         the operator's own
decision      the JSON of `decision.Decision`, or of `decision.Refusal`
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own custom

from fraudstream import decision
from fraudstream.errors import InputError
from fraudstream.features.serving import Serving, column_name, key_column, profile_columns
from fraudstream.model.artifact import Model
from fraudstream.model.export import load_spark
from fraudstream.rules import Rule, features_read
from fraudstream.spark.messages import REJECTED, Messages
from fraudstream.spark.rules import RuleSet

if TYPE_CHECKING:
    import pyarrow as pa

_CONTEXT = "total"
"""The entity of one row that every message meets. Threshold and version of the model travel in it: as data, not as
constants of the generated code, which would have to be compiled and warmed up again for each model."""
_INSTANT = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX", "timeZone": "UTC"}
_NOW = "timestamp_millis(cast(reflect('java.lang.System', 'currentTimeMillis') as bigint))"
"""The moment of each row. Spark's own clock stands still for a batch, which in real-time mode lasts a minute."""


@dataclass(frozen=True)
class Profiles:
    """What was remembered at `taken_at`: a static frame for each entity, columns named `ENTITY__COLUMN`."""

    taken_at: datetime
    frames: Mapping[str, DataFrame]
    rows: int


class Scoring:
    """A model and rules, made ready for Spark. Columns are built once, frames as often as a query starts."""

    def __init__(self, spark: SparkSession, model: Model, rules: Sequence[Rule] = ()) -> None:
        """Raises InputError where the model's trees cannot be read, or where it has none; RuleMistakes."""
        self._spark = spark
        self.model = model
        self._rules = RuleSet(spark, rules)
        ensemble = model.trees()
        if ensemble is None:
            raise InputError(f"Model {model.version} has no trees.", hint="Score with --mode microbatch.")
        with tempfile.TemporaryDirectory(prefix="fraudstream-model-") as directory:
            trees = load_spark(
                spark, ensemble, Path(directory) / "trees"
            )  # whole: the files are not needed after
        self._trees = trees.setFeaturesCol("vector")
        self._messages = Messages()
        names = tuple(dict.fromkeys([*model.features, *features_read(rules)]))
        self._features = Serving(names)
        self.reads = {_CONTEXT: ("last_at",), **profile_columns(names)}
        """Columns of `shop.profiles` that it reads, by entity."""
        from pyspark.ml.functions import array_to_vector

        self._vector = array_to_vector(F.array(*map(F.col, model.features)))
        self._risk = F.expr(ensemble.link.sql())
        self._output = _output(model.features)

    def profiles(self, tables: "Mapping[str, pa.Table]", taken_at: datetime) -> Profiles:
        """Static frames of the tables that `store.snapshot.profiles` read for `reads`."""
        frames = {}
        for entity, table in tables.items():
            whole = self._with_model(table) if entity == _CONTEXT else table
            named = whole.rename_columns([column_name(entity, name) for name in whole.column_names])
            frames[entity] = self._spark.createDataFrame(named)
        return Profiles(taken_at, frames, sum(table.num_rows for table in tables.values()))

    def _with_model(self, context: "pa.Table") -> "pa.Table":
        import pyarrow as pa

        if not context.num_rows:  # nothing was stored yet: the row is there all the same, its counters null
            context = pa.table({n: [""] if n == "key" else pa.nulls(1, t) for n, t in _types(context)})
        constants = {"threshold": self.model.threshold, "model_version": self.model.version}
        for name, value in constants.items():
            context = context.append_column(name, pa.array([value]))
        return context

    def decide(self, raw: DataFrame, profiles: Profiles) -> DataFrame:
        """`key` and `value` of the answer to each row of `raw` (a Kafka source's columns)."""
        rows = self._messages.read(
            raw.withColumnRenamed("timestamp", "sent_at").withColumnRenamed("key", "raw_key")
        )
        rows = rows.withColumn("paid", F.col("amount"))
        for entity, frame in profiles.frames.items():
            key = F.substring("paid", 1, 0) if entity == _CONTEXT else key_column(entity)
            rows = rows.join(F.broadcast(frame), key == F.col(column_name(entity, "key")), "left")
        valued = self._features.add(rows).withColumn("vector", self._vector)
        judged: DataFrame = self._trees.transform(valued)
        judged = self._rules.add(judged.withColumn("risk", self._risk))
        return judged.withColumn("scored_at", F.expr(_NOW)).select(*self._output)


def _types(table: "pa.Table") -> list[tuple[str, Any]]:
    return [(field.name, field.type) for field in table.schema]


def _output(features: Sequence[str]) -> tuple[Column, Column]:
    threshold = F.col(column_name(_CONTEXT, "threshold"))
    values: dict[str, Column] = {name: F.col(name) for name in decision.FIELDS}
    values |= {
        "amount": F.col("paid"),
        "flagged": (F.col("risk") >= threshold) | (F.size("rules") > 0),
        "model_version": F.col(column_name(_CONTEXT, "model_version")),
        "features": F.struct(*map(F.col, features)),
    }
    answer = F.to_json(F.struct(*(value.alias(name) for name, value in values.items())), _INSTANT)
    refusal = F.to_json(F.struct(*decision.REFUSAL_FIELDS), _INSTANT)
    accepted = F.col(REJECTED).isNull()
    key = F.when(accepted, F.col("user_id").cast("binary")).otherwise(F.col("raw_key"))
    return key.alias("key"), F.when(accepted, answer).otherwise(refusal).alias("value")
