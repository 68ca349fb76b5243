"""Rules on history: the features as they stood just before each transaction, the conditions as they run live."""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from feature_world import world
from fraudstream.cli.rules import EXAMPLE
from fraudstream.errors import InputError
from fraudstream.features import joined
from fraudstream.features.definitions import profile_columns
from fraudstream.features.events import INSTANT, Events
from fraudstream.features.profiles import fold
from fraudstream.features.training import view
from fraudstream.model.artifact import Model
from fraudstream.rules import Rule, features_read, load_rules
from fraudstream.spark import backtest as module
from fraudstream.spark.backtest import backtest, held
from fraudstream.spark.conditions import no_rows
from fraudstream.spark.rules import RuleSet, check

RULES = (
    Rule("pace", "user_count_1d > 3 and device <> 'ios'", "x", "high"),
    Rule("never", "amount / 0 > 1", "x", "low"),
    Rule("risky", "merchant_risk_30d > 0.1 or amount > 5 * user_amount_mean", "x", "low"),
)


class Half:
    """A model that is sure of every amount above a hundred, and flags only what it is sure of."""

    version = "v"
    features = ("hour", "amount")
    threshold = 1.0
    learned_until = datetime(2024, 2, 20, tzinfo=UTC)
    manifest: ClassVar[dict[str, Any]] = {}

    def risk(self, x: "np.ndarray[Any, np.dtype[np.float64]]") -> "np.ndarray[Any, np.dtype[np.float64]]":
        """Of rows (n, features)."""
        return np.where(x[:, 1] > 100, 1.0, 0.0)


class OfRisk(Half):
    """One that is sure of every merchant with frauds."""

    features = ("merchant_risk_30d",)  # type: ignore[assignment]
    manifest: ClassVar[dict[str, Any]] = {"label_delay_days": 1.0}

    def risk(self, x: "np.ndarray[Any, np.dtype[np.float64]]") -> "np.ndarray[Any, np.dtype[np.float64]]":
        """Of rows (n, features)."""
        return np.where(x[:, 0] > 0.05, 1.0, 0.0)


def test_alerts_are_those_that_the_features_just_before_give(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last ten of sixty days, in several chunks, worked out a second time in numpy."""
    monkeypatch.setattr(module, "CHUNK", 300)
    rows = world(4_000, seed=3)
    model: Model = Half()  # type: ignore[assignment]
    found = backtest(RuleSet(spark, RULES), rows, model=model, days=10, label_delay_days=7)

    names = ("user_count_1d", "merchant_risk_30d", "amount", "user_amount_mean")
    pace, risk, amount, usual = view(rows, 7, names).values.T
    last = rows["timestamp"][-1].as_py()
    window = pc.greater_equal(rows["timestamp"], pa.scalar(last - timedelta(days=10), rows["timestamp"].type))
    recent = window.to_numpy()
    away = pc.fill_null(pc.not_equal(rows["device"], "ios"), fill_value=False).to_numpy()
    fraud = rows["is_fraud"].fill_null(False).to_numpy()
    hits = {
        "pace": (pace > 3) & away,
        "never": np.zeros(len(pace), np.bool_),
        "risky": (risk > 0.1) | (amount > 5 * usual),
    }
    assert 500 < recent.sum() < 1_000
    assert found["transactions"] == recent.sum()
    assert found["days"] == pytest.approx(10)
    for line in found["rules"]:
        hit = hits[line["name"]] & recent
        assert line["alerts"] == hit.sum(), line
        assert line["frauds"] == (hit & fraud).sum()
        assert line["new_alerts"] == (hit & (amount <= 100)).sum()
    assert found["rules"][0]["alerts"] > 10
    assert found["rules"][2]["frauds"] > 5
    assert found["model"]["alerts"] == ((amount > 100) & recent).sum()
    assert "learned from some of these days" in " ".join(found["notes"])


def test_the_model_meets_labels_by_the_delay_that_it_learned_with(spark: SparkSession) -> None:
    """And the rules by the one that is set: as they do live."""
    rows = world(4_000, seed=3)
    model: Model = OfRisk()  # type: ignore[assignment]
    found = backtest(RuleSet(spark, RULES), rows, model=model, days=10, label_delay_days=30)
    last = rows["timestamp"][-1].as_py()
    since = pa.scalar(last - timedelta(days=10), rows["timestamp"].type)
    recent = pc.greater_equal(rows["timestamp"], since).to_numpy()
    alerts = {
        delay: int(((view(rows, delay, OfRisk.features).values[:, 0] > 0.05) & recent).sum())
        for delay in (1, 30)
    }
    assert found["model"]["alerts"] == alerts[1] != alerts[30]


def test_a_stray_transaction_and_a_pause_leave_the_days_on_which_something_happened(
    spark: SparkSession,
) -> None:
    """One payment comes half a year after the others, of which five days are missing."""
    rows = world(8_000, seed=3)
    last = rows["timestamp"][-1].as_py()
    ago = pc.subtract(pa.scalar(last, rows["timestamp"].type), rows["timestamp"])
    days = pc.divide(ago.cast(pa.int64()), 86_400_000_000).to_numpy()
    paused = rows.filter(pa.array((days < 5) | (days >= 10)))
    stray = rows.slice(0, 1)
    later = pa.array([last + timedelta(days=180)], rows["timestamp"].type)
    stray = stray.set_column(rows.column_names.index("timestamp"), "timestamp", later)
    whole = pa.concat_tables([paused, stray])
    found = backtest(RuleSet(spark, RULES), whole, model=None, days=20, label_delay_days=7)
    assert found["until"] == last.isoformat()
    assert found["transactions"] == ((days < 5) | (days >= 10) & (days < 20)).sum()
    assert found["days"] == pytest.approx(15, abs=1)
    line = found["rules"][2]
    assert line["alerts_per_day"] == pytest.approx(line["alerts"] / found["days"])
    assert "had almost no transactions" in found["notes"][0]


def test_a_history_that_begins_with_its_days_says_that_habits_begin_empty(spark: SparkSession) -> None:
    """As with `--since 30d`: an amount far above a habit is not seen where there is no habit yet."""
    rows = world(2_000, seed=3)
    plain = (Rule("large", "amount > 100", "x", "low"),)
    notes = {
        (rules[0].name, days): [
            note
            for note in backtest(RuleSet(spark, rules), rows, model=None, days=days, label_delay_days=7)[
                "notes"
            ]
            if "habits begin empty" in note
        ]
        for rules, days in ((RULES, 60), (RULES, 20), (plain, 60))
    }
    assert notes.pop(("pace", 60))[0].startswith(
        "The transactions begin 0.0 days before the first of these days"
    )
    assert [*notes.values()] == [[], []], "enough history, or no rule that reads it"


def test_without_a_model_and_without_labels_the_alerts_are_still_counted(spark: SparkSession) -> None:
    rows = world(300, seed=4).drop_columns(["is_fraud", "labelled_at"])
    rows = rows.append_column("is_fraud", pa.nulls(300, pa.bool_()))
    found = backtest(RuleSet(spark, RULES), rows, model=None, days=29, label_delay_days=7)
    assert found["rules"][2]["alerts"] > 0
    assert found["rules"][2]["precision"] is None
    assert [note.split(":")[0] for note in found["notes"]] == [
        "Nothing is labelled yet", "No model is champion yet",
    ]  # fmt: skip


@pytest.mark.parametrize("dismissed", [0, 3])
def test_by_chargebacks_and_a_few_dismissed_alerts_a_rule_has_recall_and_no_precision(
    spark: SparkSession, dismissed: int
) -> None:
    rows = world(1_000, seed=4)
    known = [True if fraud else None for fraud in rows["is_fraud"].to_pylist()]
    legitimate = [place for place, fraud in enumerate(known) if not fraud][-200:][:dismissed]
    only = pa.array(
        [False if place in legitimate else fraud for place, fraud in enumerate(known)], pa.bool_()
    )
    rows = rows.set_column(rows.column_names.index("is_fraud"), "is_fraud", only)
    found = backtest(RuleSet(spark, RULES), rows, model=None, days=30, label_delay_days=7)
    assert found["rules"][2]["frauds"] > 0
    assert found["rules"][2]["recall"] is not None
    assert found["rules"][2]["precision"] is None
    assert f" fraudulent, {dismissed} legitimate" in found["notes"][0]
    assert "nothing says how many alerts were false" in found["notes"][0]


def test_one_transaction_is_a_history_too_and_one_of_the_future_is_none(spark: SparkSession) -> None:
    one = world(1)
    assert backtest(RuleSet(spark, RULES), one, model=None, days=1, label_delay_days=7)["transactions"] == 1
    future = pa.array([datetime(9999, 1, 1, tzinfo=UTC)], one["timestamp"].type)
    late = one.set_column(one.column_names.index("timestamp"), "timestamp", future)
    with pytest.raises(InputError, match="no transactions to try the rules on"):
        backtest(RuleSet(spark, RULES), late, model=None, days=1, label_delay_days=7)


def example() -> tuple[Rule, ...]:
    from importlib.resources import as_file, files

    with as_file(files("fraudstream.rules") / EXAMPLE) as path:
        return load_rules(path)


def test_the_example_speaks_of_no_habit_of_a_customer_without_payments(spark: SparkSession) -> None:
    """The mean of a new customer is everybody's, so a first purchase of 2,400 would be 30 times "this customer's usual"."""
    empty = no_rows(spark)
    seen = [
        {"amount": 2400.0, "amount_to_user_mean": 30.0, "user_amount_mean": 80.0, "user_count_30d": count}
        for count in (0.0, 11.0)
    ]
    rows = spark.createDataFrame([tuple(one.get(c) for c in empty.columns) for one in seen], empty.schema)
    assert [row["rules"] for row in RuleSet(spark, example()).add(rows).collect()] == [
        [],
        ["far-above-habit"],
    ]


def test_the_example_does_not_call_a_late_payment_one_right_after_another(spark: SparkSession) -> None:
    """Live, one that is older than its customer's profile meets it as it is: no time has passed since the newest."""
    rules = example()
    names = tuple(dict.fromkeys([*features_read(rules), "user_idle"]))
    newest = datetime(2026, 1, 9, tzinfo=UTC)

    def paid(*at: datetime, place: str) -> pa.Table:
        return pa.table({
            "transaction_id": [f"t{n}" for n in range(len(at))], "user_id": ["u"] * len(at), "amount": [20.0] * len(at),
            "timestamp": pa.array(at, INSTANT), "device": ["pc"] * len(at), "location": ["Paris"] * len(at),
            "transaction_location": [place] * len(at), "merchant_id": ["m"] * len(at),
        })  # fmt: skip

    profiles = fold(paid(*(newest - timedelta(hours=hour) for hour in range(200)), place="Paris"))
    stored = {
        entity: profiles.filter(pc.equal(profiles["entity"], entity)).select(["key", *columns])
        for entity, columns in profile_columns(names).items()
    }
    rows = paid(newest - timedelta(hours=5), newest + timedelta(minutes=9), place="Lagos")
    values = joined.features(Events(rows), stored, names)
    assert values[:, names.index("user_idle")].tolist() == [0.0, pytest.approx(np.log(541))]
    found = held(RuleSet(spark, rules), rows, dict(zip(names, values.T, strict=True)))
    raised = [[rule.name for rule, hit in zip(rules, found[:, row], strict=True) if hit] for row in (0, 1)]
    assert raised == [[], ["impossible-travel"]]


@pytest.mark.parametrize(
    ("changed", "raised"),
    [({}, ["velocity", "card-testing", "new-device-high-amount"]), ({"user_idle": 0.0}, ["new-device-high-amount"]),
     ({"device": ""}, ["velocity"])],
)  # fmt: skip
def test_the_example_says_nothing_of_unknown_devices_and_of_minutes_before_a_late_payment(
    spark: SparkSession, changed: dict[str, float | str], raised: list[str]
) -> None:
    """It said "4 other payments within about ten minutes" where those were of a later hour, and "a device not in use"."""
    empty = no_rows(spark)
    seen = {"amount": 4.0, "amount_to_user_mean": 3.0, "user_count_30d": 11.0, "user_count_10m": 4.0,
            "user_device_share": 0.0, "device": "pc", "user_idle": 3.0} | changed  # fmt: skip
    rows = spark.createDataFrame([tuple(seen.get(c) for c in empty.columns)], empty.schema)
    assert [row["rules"] for row in RuleSet(spark, example()).add(rows).collect()] == [raised]


def test_the_example_may_run(spark: SparkSession) -> None:
    rules = example()
    check(spark, rules)
    assert {"velocity", "impossible-travel", "new-device-high-amount"} <= {rule.name for rule in rules}
