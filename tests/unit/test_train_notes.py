"""What a training says about data that make a model other than it looks."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_world import world
from fraudstream.features.events import INSTANT
from fraudstream.micros import DAY
from fraudstream.model import artifact
from fraudstream.model.finished import evaluate_model
from fraudstream.model.training import Request, Trained, train

FOREST = Request("isolation_forest", features=("amount",), label_delay_days=3)


def noted(report: dict[str, Any], words: str) -> list[str]:
    return [note for note in report["notes"] if words in note]


def with_currencies(rows: pa.Table, *names: str | None) -> pa.Table:
    repeated = np.resize(np.array(names, dtype=object), rows.num_rows)
    return rows.append_column("currency", pa.array(repeated, pa.string()))


def test_amounts_in_several_currencies_are_not_compared_in_silence() -> None:
    """11,000 yen are no more than 60 euros, but to the model they are 183 times as much."""
    rows = with_currencies(world(4_000, days=40), "EUR", "JPY", None, "")
    trained = train(rows, FOREST)
    assert noted(trained.report, "in 2 currencies (EUR, JPY)")
    later = rows.set_column(
        2, "timestamp", pa.compute.add(rows["timestamp"], pa.scalar(40 * DAY, pa.duration("us")))
    ).drop_columns("labelled_at")
    model = artifact.verified(trained.files, "memory")
    assert noted(evaluate_model(model, later), "in 2 currencies (EUR, JPY)")


def test_one_currency_is_nothing_to_speak_of() -> None:
    rows = world(4_000, days=40)
    assert not noted(train(rows, FOREST).report, "currenc")
    assert not noted(train(with_currencies(rows, "EUR", None), FOREST).report, "currenc")


def two_amounts(large: int) -> pa.Table:
    """Sixty days of payments of 10, `large` of each 1,000 of 500, which are all fraud."""
    n = np.arange(12_000)
    fraud = n * 7 % 1_000 < large
    return pa.table({
        "transaction_id": [f"t{i}" for i in n],
        "user_id": [f"u{i % 97}" for i in n],
        "timestamp": pa.array(1_700_000_000_000_000 + n * (60 * DAY // len(n)), pa.int64()).cast(INSTANT),
        "amount": np.where(fraud, 500.0, 10.0),
        "is_fraud": fraud,
    })  # fmt: skip


def boosted(large: int, alert_rate: float, alerts_per_day: float | None = None) -> Trained:
    return train(
        two_amounts(large),
        Request(
            "gradient_boosting",
            ("amount",),
            label_delay_days=7,
            alert_rate=alert_rate,
            alerts_per_day=alerts_per_day,
            parameters={"max_iter": 20},
        ),
    )


def flagged(trained: Trained) -> int:
    """Of the two amounts, how many the model flags."""
    model = artifact.verified(trained.files, "memory")
    return int((model.risk(np.array([[10.0], [500.0]])) >= model.threshold).sum())


def test_a_model_whose_highest_risk_is_shared_by_more_than_the_budget_says_that_it_flags_nothing() -> None:
    """It tells frauds perfectly; twice as many as may be flagged have the same risk, and go together or not at all."""
    trained = boosted(10, 0.005)
    assert flagged(trained) == 0
    (note,) = noted(trained.report, "flags nothing")
    rate = float(note.split("--alert-rate to ")[1].split()[0])
    again = boosted(10, rate)
    assert flagged(again) == 1
    assert not noted(again.report, "flags nothing")


def test_a_budget_per_day_that_flags_nothing_is_told_as_one_per_day() -> None:
    """It overrides the rate: `--alert-rate`, which the note named, would have changed nothing."""
    (note,) = noted(boosted(10, 0.005, 1).report, "flags nothing")
    assert "--alert-rate" not in note
    a_day = float(note.split("--alerts-per-day to ")[1].split()[0].replace(",", ""))
    again = boosted(10, 0.005, a_day)
    assert flagged(again) == 1
    assert not noted(again.report, "flags nothing")


@pytest.mark.parametrize(
    "alert_rate", [0.02, 1e-6], ids=["a budget that is kept", "a budget of less than one"]
)
def test_a_model_that_flags_what_it_may_says_nothing(alert_rate: float) -> None:
    assert not noted(boosted(10, alert_rate).report, "flags nothing")


def imported(since: int = 0, known: int = 55, large: int = 50) -> pa.Table:
    """Sixty days of payments whose labels from the day `since` on were all imported at once, on the day `known`."""
    rows = two_amounts(large)
    at = rows["timestamp"].cast(pa.int64()).to_numpy()
    day = (at - at[0]) // DAY
    told = np.maximum(np.where(day >= since, at[0] + known * DAY, at + DAY), at)
    return rows.append_column("labelled_at", pa.array(told, pa.int64()).cast(INSTANT))


def test_labels_that_were_imported_at_once_train_a_named_algorithm_that_cannot_be_evaluated() -> None:
    """Refusing them, the command asked for labels from further back, which the file has."""
    few_trees = {"max_iter": 20}
    request = Request(
        "gradient_boosting", ("amount",), label_delay_days=7, alert_rate=0.1, parameters=few_trees
    )
    trained = train(imported(), request)
    assert flagged(trained) == 1
    assert trained.report["metrics"]["average_precision"] is None
    assert trained.report["training"]["frauds"] > 400
    (note,) = noted(trained.report, "labelled_at")
    assert " frauds before 2023-12-" in note
    assert "became known from 2024-01-08 on" in note
    assert "could not be evaluated" in note


def test_legitimate_payments_that_were_imported_at_once_are_told_as_that() -> None:
    """Frauds were told one by one, as chargebacks are: then nothing but fraud was known when the windows began."""
    rows = imported()
    at = rows["timestamp"].cast(pa.int64()).to_numpy()
    told = np.where(rows["is_fraud"].to_numpy(), at + DAY, rows["labelled_at"].cast(pa.int64()).to_numpy())
    mixed = rows.set_column(
        rows.column_names.index("labelled_at"), "labelled_at", pa.array(told).cast(INSTANT)
    )
    request = Request("random_forest", ("amount",), label_delay_days=7, parameters={"n_estimators": 5})
    (note,) = noted(train(mixed, request).report, "labelled_at")
    assert "legitimate transactions before 2023-12-" in note


def test_auto_says_that_the_frauds_it_misses_are_labelled_too_late() -> None:
    (note,) = noted(train(imported(), Request("auto", ("amount",), label_delay_days=7)).report, "auto chose")
    assert "0 known frauds" in note
    assert "more are labelled, but became known from 2024-01-08 on" in note
    assert "labelled_at" in note


def test_labels_that_came_in_time_are_not_asked_for_their_time() -> None:
    assert not noted(boosted(50, 0.05).report, "labelled_at")
    early = Request("gradient_boosting", ("amount",), label_delay_days=7, parameters={"max_iter": 5})
    report = train(imported(since=50), early).report
    assert not noted(report, "labelled_at")
    assert report["metrics"]["average_precision"] == 1.0
