"""Profiles looked up batch by batch: the same decisions as from a broadcast, and none without PostgreSQL."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import sklearn
from pyspark.errors import StreamingQueryException
from pyspark.sql import functions as F

from feature_world import world
from fraudstream.errors import StreamError
from fraudstream.features.definitions import FEATURES
from fraudstream.features.profiles import combine, fold, fold_labels
from fraudstream.model import artifact, packing
from fraudstream.model.algorithms import IsolationForestEstimator
from fraudstream.model.artifact import Model
from fraudstream.model.dataset import dataset
from fraudstream.rules import Rule
from fraudstream.settings import Settings
from fraudstream.spark.failures import failure_of
from fraudstream.spark.scoring import Scoring
from fraudstream.store import profiles, snapshot
from fraudstream.store.connection import connect
from fraudstream.store.snapshot import Snapshot
from model_world import ensemble, exactly_at_its_threshold, packed
from profile_world import messages as messages_of
from profile_world import store
from samples import BAD, message
from slice_world import SOURCE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.usefixtures("postgres")

PAST, NOW = 3_000, 300
MOMENT = datetime(2025, 3, 1, tzinfo=UTC)
CLOSE = ("features", "risk")
"""Worked out in numpy here and by Spark there."""


@pytest.fixture
def remembered(settings: Settings) -> pa.Table:
    """Transactions that follow those whose profiles PostgreSQL holds, verdicts included; some of customers it never saw."""
    rows = world(PAST + NOW, 21, users=30, merchants=9)
    past, now = rows.slice(0, PAST), rows.slice(PAST)
    with connect(settings.postgres) as connection, connection.cursor() as cursor:
        profiles.merge(cursor, combine([fold(past), fold_labels(past)]))
    unknown = pa.array(
        [f"new {n}" if n % 9 == 0 else name for n, name in enumerate(now["user_id"].to_pylist())]
    )
    return now.set_column(now.column_names.index("user_id"), "user_id", unknown)


def model_of_everything() -> Model:
    """A tree on every feature, split where half of the rows fall to either side."""
    values = dataset(world(PAST, 21, users=30, merchants=9), 7, tuple(FEATURES)).values
    splits = [
        (n, float(m), -0.1 - i / 100, 0.2 - i / 90)
        for i, (n, m) in enumerate(zip(FEATURES, np.median(values, axis=0), strict=True))
    ]
    return packing.unpack(packed("v", ensemble(*splits), label_delay_days=7)[1], "v")


def as_message(row: dict[str, Any]) -> bytes:
    """As a topic has it."""
    known = {name: value for name, value in row.items() if name != "labelled_at" and value is not None}
    texts = {name: row[name] or "" for name in ("device", "location", "transaction_location")}
    return json.dumps(known | {"timestamp": row["timestamp"].isoformat()} | texts).encode()


def messages(spark: "SparkSession", rows: pa.Table) -> "DataFrame":
    """As a topic has them, bad ones among them, in several Arrow batches."""
    values = [*map(as_message, rows.to_pylist())] + [value for value, _ in BAD.values()]
    found = spark.createDataFrame(
        [(n, bytearray(b"k"), None if v is None else bytearray(v)) for n, v in enumerate(values)],
        "offset long, key binary, value binary",
    )
    return found.repartition(2).withColumns(
        {"topic": F.lit("t"), "partition": F.lit(0), "timestamp": F.current_timestamp()}
    )


def test_a_looked_up_profile_decides_as_a_broadcast_one_does(
    spark: "SparkSession", settings: Settings, remembered: pa.Table
) -> None:
    """Every feature, a rule on top, customers without a profile, refused messages: document by document."""
    model, rules = model_of_everything(), [Rule("often", "user_count_1d > 1", "x", "low")]
    raw, found, refused = messages(spark, remembered), {}, {}
    for name, ask in (("broadcast", None), ("lookup", settings.postgres)):
        scoring = Scoring(spark, model, rules, ask=ask)
        assert ("user" in scoring.reads) == (ask is None)
        held = scoring.profiles(snapshot.profiles(settings.postgres, scoring.reads), datetime.now(UTC))
        answers = [json.loads(answer["value"]) for answer in scoring.decide(raw, held).collect()]
        assert len(answers) == NOW + len(BAD)
        found[name] = {
            d["transaction_id"]: {k: v for k, v in d.items() if k not in ("scored_at", "sent_at")}
            for d in answers
            if "rejected" not in d
        }
        refused[name] = {d["offset"]: d["rejected"] for d in answers if "rejected" in d}
    assert refused["lookup"].keys() == refused["broadcast"].keys()
    assert all(refused["lookup"].values())
    assert found["lookup"].keys() == found["broadcast"].keys()
    for name, decision in found["broadcast"].items():
        other = found["lookup"][name]
        assert other["features"] == pytest.approx(decision["features"], rel=1e-9, abs=1e-9)
        assert other["risk"] == pytest.approx(decision["risk"], abs=1e-9)
        assert other | dict.fromkeys(CLOSE) == decision | dict.fromkeys(CLOSE)
    assert len({decision["risk"] for decision in found["lookup"].values()}) > NOW / 3


def test_a_risk_exactly_at_the_threshold_is_flagged(spark: "SparkSession", settings: Settings) -> None:
    """As from a broadcast, though these trees are worked out in numpy."""
    model = packing.unpack(exactly_at_its_threshold()[1], "at the threshold")
    scoring = Scoring(spark, model, ask=settings.postgres)
    raw = spark.createDataFrame(
        [(b"k", bytearray(message(amount=100 + n)), "t", 0, n, MOMENT) for n in range(2)],
        "key binary, value binary, topic string, partition int, offset long, timestamp timestamp",
    )
    held = scoring.profiles(snapshot.profiles(settings.postgres, scoring.reads), MOMENT)
    found = [json.loads(row["value"]) for row in scoring.decide(raw, held).collect()]
    assert [(d["risk"] == 0.5, d["flagged"]) for d in found] == [(False, False), (True, True)]


def test_an_estimator_without_trees_decides_as_well(
    spark: "SparkSession", settings: Settings, remembered: pa.Table
) -> None:
    """Of a user's own: unpickled once for each worker, with the risk that it gives itself."""
    names = ("amount_log", "user_count_1d")
    values = dataset(world(PAST, 21, users=30, merchants=9), 7, names).values
    estimator = IsolationForestEstimator(names, n_estimators=10, max_samples=256)
    estimator.fit(values, np.zeros(len(values), dtype=np.int64))
    manifest = packed("own", None, names, versions={"scikit-learn": sklearn.__version__})[0]
    model = artifact.verified(artifact.files_of(manifest, estimator, None), "own")
    scoring = Scoring(spark, model, python=True, ask=settings.postgres)
    raw = messages(spark, remembered)
    answers = [
        json.loads(a["value"])
        for a in scoring.decide(raw, scoring.profiles(Snapshot({}, {}), datetime.now(UTC))).collect()
    ]
    decided = [answer for answer in answers if "rejected" not in answer]
    assert len(decided) >= NOW
    seen = np.array([[answer["features"][name] for name in names] for answer in decided])
    assert [answer["risk"] for answer in decided] == pytest.approx(estimator.risk(seen), abs=1e-9)


@pytest.mark.parametrize("lookup", [False, True])
def test_a_message_that_was_stored_first_is_decided_as_if_it_were_not(
    spark: "SparkSession", settings: Settings, remembered: pa.Table, *, lookup: bool
) -> None:
    """`consume` may be ahead of `score`: no feature sees its own payment, and the next payment sees it."""
    scoring = Scoring(spark, model_of_everything(), ask=settings.postgres if lookup else None)
    stored, later = (
        row | {"transaction_id": name} for row in remembered.slice(7, 1).to_pylist() for name in "ab"
    )
    values = [as_message(stored), as_message(later)]
    raw = spark.createDataFrame(
        [
            (b"k", bytearray(value), SOURCE.topic, SOURCE.partition, n, MOMENT)
            for n, value in enumerate(values)
        ],
        "key binary, value binary, topic string, partition int, offset long, timestamp timestamp",
    )

    def features() -> dict[str, dict[str, float]]:
        held = scoring.profiles(snapshot.profiles(settings.postgres, scoring.reads), MOMENT)
        answers = [json.loads(row["value"]) for row in scoring.decide(raw, held).collect()]
        return {answer["transaction_id"]: answer["features"] for answer in answers}

    before = features()
    assert before["a"] == before["b"]
    store(settings.postgres, [messages_of(values[:1])], ("profiles",))
    after = features()
    assert after["a"] == pytest.approx(before["a"], rel=1e-9, abs=1e-9)
    assert after["b"]["user_count_1h"] == pytest.approx(before["b"]["user_count_1h"] + 1)
    assert after["b"]["user_idle"] == 0 < before["b"]["user_idle"]


def test_a_database_that_cannot_be_asked_ends_the_stream_with_its_own_sentence(
    spark: "SparkSession", settings: Settings
) -> None:
    """Not with a worker's traceback: who reads it has to know what to mend."""
    away = settings.postgres.model_copy(update={"port": 1, "retry_seconds": 0.0})
    scoring = Scoring(spark, model_of_everything(), ask=away)
    ticks = spark.readStream.format("rate").load()
    raw = ticks.select(
        F.lit(b"k").alias("key"),
        F.lit(message()).alias("value"),
        F.lit("t").alias("topic"),
        F.lit(0).alias("partition"),
        F.col("value").alias("offset"),
        "timestamp",
    )
    query = (
        scoring.decide(raw, scoring.profiles(Snapshot({}, {}), datetime.now(UTC)))
        .writeStream.format("noop")
        .start()
    )
    with pytest.raises(StreamingQueryException):
        query.awaitTermination(120)
    failure = failure_of(query)
    assert isinstance(failure, StreamError)
    assert failure.message.startswith("Spark's task stopped: ")
    assert "port 1" in failure.message or ":1 " in failure.message
    assert "Traceback" not in failure.message


def test_real_time_cannot_look_up(settings: Settings, run: Any, environment: dict[str, str]) -> None:
    """It takes no Python: one sentence with both ways out, before Spark starts."""
    assert settings
    done = run("score", "--json", env=environment | {"FRAUDSTREAM_SCORE__PROFILES": "lookup"})
    assert done.returncode == 2
    assert "starting Spark" not in done.stderr
    assert "--mode microbatch" in json.loads(done.stdout)["error"]["hint"]
