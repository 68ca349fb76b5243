"""Decisions as the live scorer makes them, beside the training view and the numpy trees."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
import sklearn
from pyspark.errors.exceptions.captured import PythonException
from pyspark.sql import DataFrame, SparkSession

from feature_world import replay, world
from fraudstream.decision import Decision, Refusal
from fraudstream.errors import InputError
from fraudstream.features.catalogue import LAST_AT
from fraudstream.features.definitions import FEATURES
from fraudstream.features.training import view
from fraudstream.model.algorithms import IsolationForestEstimator
from fraudstream.model.artifact import Model, files_of, verified
from fraudstream.model.packing import unpack
from fraudstream.rules import Rule, features_read
from fraudstream.spark.score import CONF
from fraudstream.spark.scoring import Profiles, Scoring
from fraudstream.store.snapshot import Snapshot
from model_world import ensemble, exactly_at_its_threshold, packed
from plans import forbidden, plan
from samples import BAD, message

NAMES = tuple(FEATURES)
HISTORY = 500
NOW = datetime(2025, 1, 1, tzinfo=UTC)
FIELDS = ("transaction_id", "user_id", "amount", "device", "location", "transaction_location", "merchant_id")


@pytest.fixture(scope="module", autouse=True)
def _planned_as_live(spark: SparkSession) -> Iterator[None]:
    """The scorer's own settings, and a time zone that would show where UTC is not meant."""
    chosen = {
        name: value for name, value in CONF.items() if name.startswith("spark.sql.") and "ui" not in name
    }
    chosen["spark.sql.session.timeZone"] = "Asia/Kathmandu"
    before = {name: spark.conf.get(name, None) for name in chosen}
    for name, value in chosen.items():
        spark.conf.set(name, value)
    yield
    for name, old in before.items():
        spark.conf.unset(name) if old is None else spark.conf.set(name, old)


@pytest.fixture(scope="module")
def events() -> pa.Table:
    """Transactions whose truth nobody knows, with null fields, ties and absurd amounts."""
    table = world(HISTORY + 60, seed=3)
    amounts = table["amount"].to_numpy().copy()
    amounts[[20, HISTORY + 7]] = 1.7e308
    unknown = pa.nulls(table.num_rows, pa.bool_())
    return table.set_column(3, "amount", pa.array(amounts)).set_column(
        table.column_names.index("is_fraud"), "is_fraud", unknown
    )


@pytest.fixture(scope="module")
def model(events: pa.Table) -> Model:
    """A tree for each feature there is, split where the features of these events lie."""
    values = view(events, names=NAMES).values
    splits = [(name, float(np.median(values[:, i])), -0.1 - i / 100, 0.1) for i, name in enumerate(NAMES)]
    manifest, artifact = packed("everything", ensemble(*splits), threshold=0.4)
    return unpack(artifact, str(manifest["version"]))


@pytest.fixture(scope="module")
def scoring(spark: SparkSession, model: Model) -> Scoring:
    return Scoring(spark, model)


def tables(scoring: Scoring, history: pa.Table | None) -> Snapshot:
    """What `store.snapshot.profiles` would read behind these events."""
    states: dict[tuple[str, str], tuple[int, dict[str, float]]] = {}
    if history is not None:
        *_, (_, ledger) = replay(history)
        states = ledger.states
    found: dict[str, pa.Table] = {}
    for entity, columns in scoring.reads.items():
        mine = [(key, at, state) for (name, key), (at, state) in states.items() if name == entity]
        found[entity] = pa.table(
            {
                "key": pa.array([key for key, *_ in mine], pa.string()),
                **{
                    name: pa.array([at for _, at, _ in mine], pa.timestamp("us", "UTC"))
                    if name == LAST_AT
                    else pa.array([state[name] for *_, state in mine], pa.float64())
                    for name in columns
                },
            }
        )
    return Snapshot(found, {})


@pytest.fixture(scope="module")
def profiles(scoring: Scoring, events: pa.Table) -> Profiles:
    return scoring.profiles(tables(scoring, events.slice(0, HISTORY)), NOW)


def raw(spark: SparkSession, values: Sequence[bytes | None]) -> DataFrame:
    """Rows as Spark's Kafka source gives them."""
    rows = [(b"key", value, "topic", 2, offset, NOW) for offset, value in enumerate(values)]
    ddl = "key binary, value binary, topic string, partition int, offset long, timestamp timestamp"
    return spark.createDataFrame(rows, ddl)


Answers = list[tuple[bytes | None, bytes]]
Decide = Callable[..., Answers]


@pytest.fixture
def decide(spark: SparkSession, scoring: Scoring, profiles: Profiles) -> Decide:
    """Key and value of the answer to each message."""

    def decide(*values: bytes | None, scoring: Scoring = scoring, profiles: Profiles = profiles) -> Answers:
        rows = scoring.decide(raw(spark, values), profiles).collect()
        return [(row["key"] and bytes(row["key"]), row["value"].encode()) for row in rows]

    return decide


def decision(answer: tuple[bytes | None, bytes]) -> Decision:
    return msgspec.json.decode(answer[1], type=Decision)


def as_message(row: dict[str, Any]) -> bytes:
    fields = {name: row[name] for name in FIELDS} | {"timestamp": row["timestamp"].isoformat()}
    optional = {name: value for name, value in fields.items() if name == "merchant_id" or value is not None}
    return json.dumps({"device": "", "location": "", "transaction_location": ""} | optional).encode()


def test_a_decision_has_the_risk_that_the_model_gives_to_the_training_view(
    decide: Decide, model: Model, events: pa.Table
) -> None:
    """Given the same profile state, every feature and the risk agree to 1e-9, whatever the transaction is."""
    complete = [
        {**row, **{name: row[name] or "" for name in ("device", "location", "transaction_location")}}
        for row in events.slice(HISTORY).to_pylist()
    ]
    decisions = [decision(answer) for answer in decide(*map(as_message, complete))]
    assert len(decisions) == len(complete)
    for row, found in zip(complete, decisions, strict=True):
        one = pa.Table.from_pylist([row], schema=events.schema)
        expected = view(pa.concat_tables([events.slice(0, HISTORY), one]), names=NAMES).values[-1:]
        np.testing.assert_allclose(list(found.features.values()), expected[0], rtol=1e-9, atol=1e-9)
        assert tuple(found.features) == NAMES
        assert abs(found.risk - model.risk(expected)[0]) < 1e-9
        assert found.flagged == (found.risk >= 0.4)
        assert (found.amount, found.merchant_id) == (row["amount"], row["merchant_id"])
        assert (found.timestamp, found.sent_at) == (row["timestamp"], NOW)


def test_a_risk_exactly_at_the_threshold_is_flagged(spark: SparkSession, decide: Decide) -> None:
    """As the evaluation counts it, which chose the threshold among such risks."""
    at_it = Scoring(spark, unpack(exactly_at_its_threshold()[1], "at the threshold"))
    nothing = at_it.profiles(tables(at_it, None), NOW)
    answers = decide(message(amount=100), message(amount=101), scoring=at_it, profiles=nothing)
    found = [decision(answer) for answer in answers]
    assert [(d.risk == 0.5, d.flagged) for d in found] == [(False, False), (True, True)]


def test_an_unknown_customer_has_an_empty_profile(decide: Decide, scoring: Scoring, model: Model) -> None:
    """Before anything was stored, everybody is unknown: the features of a first transaction."""
    nothing = scoring.profiles(tables(scoring, None), NOW)
    (answer,) = decide(message(), profiles=nothing)
    known = {"transaction_id": "t-1", "user_id": "u-1", "amount": 12.5, "device": "ios"}
    first = world(1).to_pylist()[0] | known | {"location": "Paris", "transaction_location": "Lyon"}
    first |= {"merchant_id": None, "timestamp": datetime(2025, 3, 1, 10, 30, 0, 250_000, UTC)}
    expected = view(pa.Table.from_pylist([first], schema=world(1).schema), names=NAMES).values
    np.testing.assert_allclose(list(decision(answer).features.values()), expected[0], rtol=1e-9)
    assert abs(decision(answer).risk - model.risk(expected)[0]) < 1e-9


def test_a_transaction_of_the_future_meets_a_profile_that_has_faded(decide: Decide, events: pa.Table) -> None:
    """Its hours count as passed: counters decay, the time since the last transaction is capped, nothing fails."""
    row = events.slice(HISTORY - 1, 1).to_pylist()[0]
    now, later = (
        decision(answer).features
        for answer in decide(
            message(user_id=row["user_id"], timestamp=row["timestamp"].isoformat()),
            message(user_id=row["user_id"], timestamp="9999-12-31T23:59:59Z"),
        )
    )
    assert now["user_count_30d"] > 0.9
    assert later["user_count_30d"] == 0
    assert later["user_idle"] == pytest.approx(np.log1p(365 * 86_400))
    assert all(np.isfinite(list(later.values())))


def test_the_truth_changes_no_decision(decide: Decide) -> None:
    """Whatever `is_fraud` and `fraud_scenario` say, be it nonsense; personal fields are not repeated either."""
    said: list[dict[str, Any]] = [
        {"is_fraud": 0},
        {"is_fraud": 1, "fraud_scenario": "velocity_burst"},
        {"is_fraud": ..., "fraud_scenario": ["?"]},
        {"is_fraud": "yes", "first_name": "Ada", "full_name": "Ada L.", "email": "ada@example.org"},
    ]
    answers = [json.loads(value) for _, value in decide(*(message(**changes) for changes in said))]
    for answer in answers:
        del answer["scored_at"]
        assert answer == answers[0]
    assert not {"is_fraud", "fraud_scenario", "first_name", "full_name", "email"} & answers[0].keys()


def test_a_message_that_is_no_transaction_gets_a_refusal(decide: Decide) -> None:
    """With its place and the reason, and without its key, which may be an e-mail address; its neighbours are scored."""
    bad = [value for name, (value, _) in BAD.items() if not name.startswith("truth of")]
    answers = decide(message(), *bad, message())
    assert [key for key, _ in answers[:2]] == [b"u-1", None]
    assert decision(answers[0]).risk == decision(answers[-1]).risk
    for offset, (_, value) in enumerate(answers[1:-1], 1):
        if b'"rejected"' in value:
            refusal = msgspec.json.decode(value, type=Refusal, strict=True)
            assert refusal.rejected
            assert (refusal.topic, refusal.partition, refusal.offset) == ("topic", 2, offset)
        else:
            decision(answers[offset])


def test_a_rule_flags_what_the_model_lets_pass(spark: SparkSession, decide: Decide, events: pa.Table) -> None:
    """It may read features that the model does not have, and stands in the decision by name."""
    manifest, artifact = packed("calm", ensemble(("hour", 30.0, -9.0, -9.0)), threshold=0.9)
    rules = [
        Rule("abroad", "location <> transaction_location and user_count_30d < 0.5", "far", "high"),
        Rule("broken", "amount / (amount - amount) > 1", "never", "low"),
    ]
    scoring = Scoring(spark, unpack(artifact, str(manifest["version"])), rules)
    profiles = scoring.profiles(tables(scoring, events.slice(0, HISTORY)), NOW)
    far, near = (
        decision(answer)
        for answer in decide(
            message(), message(transaction_location="Paris"), scoring=scoring, profiles=profiles
        )
    )
    assert (far.flagged, far.rules, near.flagged, near.rules) == (True, ("abroad",), False, ())
    assert far.risk == near.risk < 0.01
    # Behind the model's features those that the rules read: their reasons are filled in from here.
    assert list(far.features) == ["hour", *features_read(rules)]
    assert "user_count_30d" in far.features


def test_every_decision_has_its_own_moment(decide: Decide) -> None:
    """Spark's clock stands still for a batch, which may last minutes; a decision's does not."""
    before = datetime.now(UTC)
    moments = [decision(answer).scored_at for answer in decide(*[message()] * 3000)]
    assert before - timedelta(seconds=1) < min(moments) < max(moments) < datetime.now(UTC)


def test_the_plan_allows_real_time_mode(spark: SparkSession, scoring: Scoring, profiles: Profiles) -> None:
    """Projections and broadcast joins: no Python, no exchange of rows, no sort."""
    text = plan(scoring.decide(raw(spark, [message()]), profiles))
    assert "BroadcastHashJoin" in text
    assert forbidden(text) == set()


def test_an_estimator_without_trees_scores_in_python(
    spark: SparkSession, decide: Decide, events: pa.Table
) -> None:
    """In micro-batches, with the risk that it gives itself; real-time mode refuses it and names the way out."""
    names = ("amount_log", "hour")
    estimator = IsolationForestEstimator(names, n_estimators=10, max_samples=256)
    values = view(events, names=names).values
    estimator.fit(values, np.zeros(len(values), dtype=np.int64))
    manifest = packed("own", None, names, versions={"scikit-learn": sklearn.__version__})[0]
    model = verified(files_of(manifest, estimator, None), "own")
    with pytest.raises(InputError, match="scores in Python") as refused:
        Scoring(spark, model)
    assert "--mode microbatch" in refused.value.hint
    scoring = Scoring(spark, model, python=True)
    profiles = scoring.profiles(tables(scoring, None), NOW)
    for amount, answer in zip(
        (1.0, 5e6),
        decide(message(amount=1.0), message(amount=5e6), scoring=scoring, profiles=profiles),
        strict=True,
    ):
        expected = estimator.risk(np.array([[np.log1p(amount), 10.0]]))
        assert decision(answer).risk == pytest.approx(expected[0], abs=1e-9)
    (refused_message,) = decide(BAD["not JSON"][0], scoring=scoring, profiles=profiles)
    assert msgspec.json.decode(refused_message[1], type=Refusal).rejected


def test_an_estimator_that_gives_no_risk_decides_nothing(spark: SparkSession, decide: Decide) -> None:
    """A sum of features is no number from 0 to 1; it ends the query with its model's name."""
    names = ("amount_log", "hour")
    estimator = SimpleNamespace(fit=np.add, risk=partial(np.sum, axis=1))
    manifest = packed("odd", None, names, versions={"scikit-learn": sklearn.__version__})[0]
    scoring = Scoring(spark, verified(files_of(manifest, estimator, None), "odd"), python=True)
    profiles = scoring.profiles(tables(scoring, None), NOW)
    with pytest.raises(PythonException, match="Model odd returned invalid risks"):
        decide(message(amount=5.0), scoring=scoring, profiles=profiles)


def test_warming_up_leaves_no_trace(
    spark: SparkSession,
    scoring: Scoring,
    profiles: Profiles,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It runs the whole way once, and leaves no query, no table and no word."""
    before = spark.catalog.listTables()
    with caplog.at_level("INFO"):
        scoring.warm_up(profiles)
    assert spark.streams.active == []
    assert spark.catalog.listTables() == before
    assert caplog.messages == []
    assert capfd.readouterr() == ("", "")
