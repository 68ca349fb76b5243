"""One transaction, one state, one risk: live in Spark, in a file, and in the evaluation."""

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from feature_world import world
from fraudstream.features.definitions import FEATURES
from fraudstream.features.profiles import combine, fold, fold_labels
from fraudstream.model import artifact, packing
from fraudstream.model.algorithms import LABEL_FREE
from fraudstream.model.dataset import dataset
from fraudstream.model.scoring import FileScorer
from fraudstream.rules import Rule
from fraudstream.spark.scoring import Scoring
from fraudstream.store import snapshot
from model_world import ensemble, packed

PAST, NOW = 3_000, 200


@pytest.fixture(scope="module")
def model() -> artifact.Model:
    """A tree on every feature, split where half of the rows fall to either side."""
    values = dataset(world(PAST, 21, users=30, merchants=9), 7, tuple(FEATURES)).values
    middle = np.median(values, axis=0)
    splits = [(name, float(middle[i]), -0.1 - i / 100, 0.2 - i / 90) for i, name in enumerate(FEATURES)]
    _, archive = packed("v", ensemble(*splits), label_delay_days=7)
    return packing.unpack(archive, "v")


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Transactions as a topic takes them: a device that is not known is an empty text."""
    table = world(PAST + NOW, 21, users=30, merchants=9)
    for name in ("device", "location", "transaction_location"):
        table = table.set_column(table.column_names.index(name), name, pc.fill_null(table[name], ""))
    return table


def stored(past: pa.Table, reads: "dict[str, tuple[str, ...]]") -> snapshot.Snapshot:
    """Profiles as the sink leaves them, verdicts included, and `store.snapshot.profiles` reads them."""
    profiles = combine([fold(past), fold_labels(past)])
    tables = {
        entity: profiles.filter(pc.equal(profiles["entity"], entity)).select(["key", *columns])
        for entity, columns in reads.items()
    }
    return snapshot.Snapshot(tables, {})


def test_live_and_in_a_file_the_risk_is_the_same(
    spark: SparkSession, model: artifact.Model, rows: pa.Table
) -> None:
    """200 transactions, each alone against the same profiles: to 1e-9, and every document field by field."""
    past, now = rows.slice(0, PAST), rows.slice(PAST)
    live = {d["transaction_id"]: d for d in decided(spark, model, past, now)}
    assert len(live) == NOW
    reads = dict(FileScorer(model).reads)
    profiles = stored(past, reads).profiles
    unjudged = now.drop_columns(["is_fraud", "labelled_at"])
    for place in range(NOW):
        scorer = FileScorer(model)
        scorer.remember(profiles)
        (found,) = scorer.score_arrivals(unjudged.slice(place, 1), datetime.now(UTC))
        expected = live[found.transaction_id]
        assert found.risk == pytest.approx(expected["risk"], abs=1e-9)
        assert found.features == pytest.approx(expected["features"], rel=1e-9, abs=1e-9)
        assert found.timestamp == datetime.fromisoformat(expected["timestamp"])
        for name in ("user_id", "amount", "device", "location", "transaction_location", "flagged"):
            assert getattr(found, name) == expected[name], name
    assert len({d["risk"] for d in live.values()}) > NOW / 2


@pytest.mark.parametrize(
    ("features", "beside"),
    [
        (LABEL_FREE, {"user_count_30d", "merchant_count_30d"}),
        (("amount", "amount_to_user_mean_7d", "amount_to_user_max"), {"amount_to_overall_mean", "user_idle"}),
    ],
)
def test_live_and_in_a_file_a_model_tells_what_its_reasons_are_told_with(
    spark: SparkSession, rows: pa.Table, features: tuple[str, ...], beside: set[str]
) -> None:
    model = packing.unpack(packed("v", ensemble(*((n, 1.0, -0.1, 0.2) for n in features)))[1], "v")
    (live,) = decided(spark, model, rows.slice(0, PAST), rows.slice(PAST, 1))
    assert tuple(live["features"]) == FileScorer(model).features
    assert beside <= live["features"].keys()


def decided(
    spark: SparkSession, model: artifact.Model, past: pa.Table, now: pa.Table
) -> list[dict[str, Any]]:
    """What the live scorer answers to messages, truth and all."""
    scoring = Scoring(spark, model, [Rule("never", "amount < 0", "x", "low")])
    profiles = scoring.profiles(stored(past, scoring.reads), datetime.now(UTC))
    messages = []
    for row in now.drop_columns(["labelled_at"]).to_pylist():
        text = json.dumps(
            {k: v for k, v in (row | {"timestamp": row["timestamp"].isoformat()}).items() if v is not None}
        )
        messages.append((bytearray(row["user_id"].encode()), bytearray(text.encode())))
    raw = spark.createDataFrame(messages, "key binary, value binary").withColumns(
        {
            "topic": F.lit("t"),
            "partition": F.lit(0),
            "offset": F.lit(0).cast("long"),
            "timestamp": F.current_timestamp(),
        }
    )
    return [json.loads(answer["value"]) for answer in scoring.decide(raw, profiles).collect()]


def test_in_a_file_and_in_the_evaluation_the_risk_is_the_same(model: artifact.Model, rows: pa.Table) -> None:
    """All transactions in order, from an empty state: with verdicts as they become known, and without any."""
    whole = rows.drop_columns(["labelled_at"])
    unjudged = whole.drop_columns(["is_fraud"])
    found = {
        "with": [d.risk for some in FileScorer(model).score_with_verdicts(whole) for d in some],
        "without": [d.risk for some in FileScorer(model).score_file(unjudged) for d in some],
    }
    for name, table in (("with", whole), ("without", unjudged)):
        data = dataset(table, 7, model.features)
        expected = model.risk(data.columns(model.features, np.arange(len(data))))
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-9)
    assert found["with"] != found["without"]


def test_profiles_are_the_state_that_the_past_of_a_file_leaves(model: artifact.Model, rows: pa.Table) -> None:
    """Scored whole, or from the profiles of its first part: the same decisions, to 1e-9."""
    unjudged = rows.drop_columns(["is_fraud", "labelled_at"])
    whole = [d.risk for some in FileScorer(model).score_file(unjudged) for d in some]
    scorer = FileScorer(model)
    past = unjudged.slice(0, PAST)
    profiles = fold(past)
    scorer.remember(
        {
            e: profiles.filter(pc.equal(profiles["entity"], e)).select(["key", *c])
            for e, c in scorer.reads.items()
        }
    )
    assert scorer.newest == past["timestamp"][-1].as_py()
    rest = [d.risk for some in scorer.score_file(unjudged.slice(PAST)) for d in some]
    np.testing.assert_allclose(rest, whole[PAST:], rtol=0, atol=1e-9)
