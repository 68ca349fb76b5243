"""From raw messages to decisions, as steps from DataFrame to DataFrame without Python.

messages      a transaction, or why it is not one
profiles      of its customer, device, place and merchant
features      `features`, the same as in training
risk          `judge`: the trees, inside the JVM
rules         the operator's own
decision      the JSON of `decision.Decision`, or of `decision.Refusal`

If profiles are looked up, Python does the first four steps (`lookup`).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from fraudstream import decision
from fraudstream.features.context import with_context
from fraudstream.features.definitions import profile_columns
from fraudstream.model.artifact import Model
from fraudstream.rules import Rule, features_read
from fraudstream.settings import PostgresSettings
from fraudstream.spark.columns import Columns
from fraudstream.spark.features import Serving, column_name, key_column
from fraudstream.spark.lookup import PAID, Lookup
from fraudstream.spark.messages import Messages
from fraudstream.spark.risk import RiskStep, risk_step
from fraudstream.spark.rules import RuleSet

if TYPE_CHECKING:
    import pyarrow as pa

    from fraudstream.store.snapshot import Folded, Snapshot

_CONTEXT = "total"
"""The entity with a single row, which is joined to every message. It includes the model's threshold and version, and how far
the profiles are folded: as data, because constants in generated code would need compiling and warming up again each time."""
_FOLDED = "folded"
_INSTANT = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX", "timeZone": "UTC"}
_NOW = "timestamp_millis(cast(reflect('java.lang.System', 'currentTimeMillis') as bigint))"
"""The current time for each row. Spark's own is fixed during a batch, which in real-time mode lasts a minute."""


_WARM_UP_ROWS: Final = 5_000
_WARM_UP_WORKERS: Final = 2
_NUMBER: Final = "number"
_MADE_UP: Final = {
    "transaction_id": _NUMBER,
    **dict.fromkeys(("user_id", "device", "location", "transaction_location"), "warm-up"),
    **dict.fromkeys(("merchant_id", "currency"), "warm-up"),
    "timestamp": "2025-01-01T00:00:00.000000Z",
    "amount": 1.0,
}


@dataclass(frozen=True)
class Profiles:
    """Profiles as of `taken_at`: a static frame for each entity, with columns named `ENTITY__COLUMN`."""

    taken_at: datetime
    frames: Mapping[str, DataFrame]
    rows: int


class Scoring:
    """A model and rules, prepared for Spark. Columns are built once, frames for every query."""

    def __init__(
        self,
        spark: SparkSession,
        model: Model,
        rules: Sequence[Rule] = (),
        *,
        python: bool = False,
        ask: PostgresSettings | None = None,
    ) -> None:
        """With `ask`, profiles are looked up there batch by batch, in Python (`Lookup`), instead of a broadcast of all.

        Raises InputError if the model cannot be read, or needs Python and must not use it; RuleMistakes.
        """
        self._spark = spark
        self._warm_up_tasks = _WARM_UP_WORKERS if python or ask is not None else None
        self.model = model
        self._rules = RuleSet(spark, rules)
        names = tuple(dict.fromkeys([*with_context(model.features), *features_read(rules)]))
        self.lookup = Lookup.of(ask, model, names) if ask is not None else None
        self.reads: dict[str, tuple[str, ...]] = {}
        """Columns of `shop.profiles` that are read for everybody, by entity: where others are looked up, those of `total`."""
        self._judge: Callable[[DataFrame, Mapping[str, DataFrame]], DataFrame]
        if self.lookup is not None:
            self.reads = {e: columns for e, columns in self.lookup.reads.items() if e == _CONTEXT}
            model.scorer()  # errors are raised here, not in a task
            self._judge = self.lookup.judge
            self._output = _output(names, F.lit(model.threshold), F.lit(model.version))
        else:
            self.reads = {_CONTEXT: ("last_at",), **profile_columns(names)}
            self._judge = _Expressions(names, self.reads, risk_step(spark, model, python=python)).judge
            context = (F.col(column_name(_CONTEXT, name)) for name in ("threshold", "model_version"))
            self._output = _output(names, *context)

    def profiles(self, found: "Snapshot", taken_at: datetime) -> Profiles:
        """Static frames of the result of `store.snapshot.profiles` for `reads`."""
        frames = {}
        for entity, table in found.profiles.items():
            whole = self._with_constants(table, found.folded) if entity == _CONTEXT else table
            named = whole.rename_columns([column_name(entity, name) for name in whole.column_names])
            frames[entity] = self._spark.createDataFrame(named)
        return Profiles(taken_at, frames, sum(table.num_rows for table in found.profiles.values()))

    def _with_constants(self, context: "pa.Table", folded: "Folded") -> "pa.Table":
        import pyarrow as pa

        if not context.num_rows:  # nothing is stored yet: the row must exist anyway, with null counters
            context = pa.table({n: [""] if n == "key" else pa.nulls(1, t) for n, t in _types(context)})
        constants = {"threshold": self.model.threshold, "model_version": self.model.version}
        for name, value in constants.items():
            context = context.append_column(name, pa.array([value]))
        by_topic = [(topic, list(offsets.items())) for topic, offsets in folded.items()]
        types = pa.map_(pa.string(), pa.map_(pa.int32(), pa.int64()))
        return context.append_column(_FOLDED, pa.array([by_topic], types))

    def decide(self, raw: DataFrame, profiles: Profiles) -> DataFrame:
        """`key` and `value` of the answer to each row of `raw`, which has the columns of a Kafka source."""
        messages = raw.withColumnRenamed("timestamp", "sent_at")
        judged = self._rules.add(self._judge(messages, profiles.frames))
        return judged.withColumn("scored_at", F.expr(_NOW)).select(*self._output)

    def warm_up(self, profiles: Profiles) -> None:
        """Decide a few thousand synthetic messages, and discard the results.

        The JVM compiles frequent code: without this the first real messages would wait for it.
        What could fail in a query fails here, before the stream is announced as running.
        """
        before, after = json.dumps(_MADE_UP).split(_NUMBER)
        # All messages differ: for equal ones Spark would compute the answer while planning, for 10 s, and
        # the code for real messages would stay cold.
        message = F.concat(F.lit(before), F.col("id"), F.lit(after))
        # Spark has many more threads than the machine has cores. Each would fork a Python worker and log in to PostgreSQL.
        raw = self._spark.range(0, _WARM_UP_ROWS, numPartitions=self._warm_up_tasks).select(
            F.lit(b"").alias("key"),
            message.cast("binary").alias("value"),
            F.lit("").alias("topic"),
            F.lit(0).alias("partition"),
            F.col("id").alias("offset"),
            F.current_timestamp().alias("timestamp"),
        )
        self.decide(raw, profiles).write.format("noop").mode("overwrite").save()


class _Expressions:
    """The steps up to the risk as Spark's own expressions, with a broadcast of all profiles."""

    def __init__(self, names: Sequence[str], entities: Iterable[str], judge: RiskStep) -> None:
        self._messages = Messages()
        self._paid = Columns({PAID: F.col("amount")})
        self._features = Serving(names, folded=F.col(_FOLDED))
        keys = {e: F.substring(PAID, 1, 0) if e == _CONTEXT else key_column(e) for e in entities}
        self._matches = {e: key == F.col(column_name(e, "key")) for e, key in keys.items()}
        below = F.try_element_at(column_name(_CONTEXT, _FOLDED), F.col("topic"))
        folded = F.col("offset") < F.try_element_at(below, F.col("partition"))
        self._folded = Columns({_FOLDED: F.coalesce(folded, F.lit(False))})
        self._judge = judge

    def judge(self, messages: DataFrame, profiles: Mapping[str, DataFrame]) -> DataFrame:
        """Messages as rows with fields, features and risk, or the reason why `Messages` rejected them."""
        rows = self._paid.add(self._messages.read(messages))
        for entity, frame in profiles.items():
            rows = rows.join(F.broadcast(frame), self._matches[entity], "left")
        return self._judge(self._features.add(self._folded.add(rows)))


def _types(table: "pa.Table") -> list[tuple[str, Any]]:
    return [(field.name, field.type) for field in table.schema]


def _output(features: Sequence[str], threshold: Column, version: Column) -> tuple[Column, Column]:
    values: dict[str, Column] = {name: F.col(name) for name in decision.FIELDS}
    values |= {
        "amount": F.col(PAID),
        "flagged": (F.col("risk") >= threshold) | (F.size("rules") > 0),
        "model_version": version,
        "features": F.struct(*map(F.col, features)),
    }
    answer = F.to_json(F.struct(*(value.alias(name) for name, value in values.items())), _INSTANT)
    refusal = F.to_json(F.struct(*decision.REFUSAL_FIELDS), _INSTANT)
    accepted = F.col(decision.REJECTED).isNull()
    # A refusal has no key: a producer may use personal data, such as an address, as the key of its messages.
    key = F.when(accepted, F.col("user_id").cast("binary"))
    return key.alias("key"), F.when(accepted, answer).otherwise(refusal).alias("value")
