"""Evaluating what exists already: which customers count, and on how little anything can still be said."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_world import world
from fraudstream.features.events import INSTANT
from fraudstream.micros import DAY
from fraudstream.model import artifact
from fraudstream.model.dataset import dataset
from fraudstream.model.evaluation import blocked
from fraudstream.model.finished import evaluate_model, evaluate_scores
from fraudstream.model.folds import Fold
from fraudstream.model.tables import read_transactions
from fraudstream.model.training import Request, train

START = datetime(2024, 1, 1, tzinfo=UTC)
EVALUATED = 110
"""The day on which the last window begins; the model learned until the 50th, so that many came before."""


@pytest.mark.parametrize(("weeks", "is_blocked"), [(8, False), (1.5, True)])
def test_a_victim_of_two_months_ago_counts_in_card_precision(weeks: float, is_blocked: bool) -> None:
    """Its card is a new one, however long ago the model was trained; a victim of last week has none yet."""
    days = np.arange(0, EVALUATED + 7, 0.5)
    table = pa.table({
        "user_id": [f"u{n % 2}" for n in range(len(days))],
        "timestamp": pa.array([START + timedelta(days=day) for day in days], INSTANT),
        "amount": 1.0 + np.arange(len(days)),
        "is_fraud": days == EVALUATED - weeks * 7,
    })  # fmt: skip
    data = dataset(table, 7, ("amount",))
    test_from = int(data.micros[0]) + EVALUATED * DAY
    fold = Fold(int(data.micros[0]) + 50 * DAY, test_from, test_from + 7 * DAY)
    rows = np.flatnonzero(data.micros >= test_from)
    assert blocked(data, fold, rows).any() == is_blocked


@pytest.mark.parametrize("same", [{"amount": 5.0}, {"user_id": "u"}], ids=["amount", "customer"])
def test_scores_of_one_amount_or_one_customer_are_evaluated(tmp_path: Path, same: dict[str, Any]) -> None:
    """A model could learn nothing from them, but nothing is learned here."""
    rng = np.random.default_rng(0)
    rows = 2_000
    fraud = rng.random(rows) < 0.05
    frame = pd.DataFrame({
        "transaction_id": np.arange(rows),
        "user_id": rng.integers(0, 50, rows),
        "timestamp": [(START + timedelta(hours=float(n) / 2)).isoformat() for n in range(rows)],
        "amount": rng.uniform(1, 9, rows).round(2),
        "is_fraud": fraud.astype(int),
        "risk": np.where(fraud, 0.9, 0.1),
    }).assign(**same)  # fmt: skip
    frame.to_csv(tmp_path / "scores.csv", index=False)
    loaded = read_transactions(tmp_path / "scores.csv", with_risk=True)
    assert evaluate_scores(loaded.rows, 7, 0.05)["metrics"]["average_precision"] == pytest.approx(1.0)


def test_stray_payments_in_a_pause_inside_a_window_change_no_figure() -> None:
    """Each would make a day of its own, on which nobody is caught, with as much say in card precision as a busy one."""
    rng = np.random.default_rng(0)
    busy = np.append(np.arange(53), [73, 74])
    steady = np.repeat(busy, 200) + np.tile(np.linspace(0, 0.99, 200), len(busy))
    days = np.append(steady, np.arange(53, 73) + 0.5)
    rows = len(days)
    fraud = (rng.random(rows) < 0.05) & (np.arange(rows) < len(steady))
    table = pa.table({
        "transaction_id": [f"t{n}" for n in range(rows)],
        "user_id": [f"u{n}" for n in rng.integers(0, 900, rows)],
        "timestamp": pa.array([START + timedelta(days=float(day)) for day in days], INSTANT),
        "amount": rng.uniform(1, 9, rows),
        "is_fraud": fraud,
        "risk": np.where(fraud, 0.9, 0.1) + rng.uniform(0, 0.1, rows),
    })  # fmt: skip
    # Four days before the pause and two behind it are the last window.
    strayed = evaluate_scores(table, 3, 0.01)
    alone = evaluate_scores(table.slice(0, len(steady)), 3, 0.01)
    last = strayed["folds"][-1]
    assert (last["test_from"][:10], last["test_until"][:10]) == ("2024-02-19", "2024-03-16")
    for window in (*strayed["folds"], *alone["folds"]):
        del window["baselines"]["random"]  # drawn for each row of a file, and one file has more
    assert strayed["folds"] == alone["folds"]
    assert strayed["metrics"] == alone["metrics"]
    assert strayed["calibration"] == alone["calibration"]


@pytest.mark.parametrize(
    "names", [("amount", "amount_to_user_mean"), ("amount",)], ids=["habits", "no habits"]
)
def test_a_file_without_the_history_before_its_windows_says_that_habits_begin_empty(
    names: tuple[str, ...],
) -> None:
    """With the whole history, or for a model that remembers nothing, there is nothing to say."""
    rows = world(9_000, days=90).drop_columns("labelled_at")
    at = rows["timestamp"]
    early, tail = (
        rows.filter(pc.less(at, pa.scalar(START + timedelta(days=50), INSTANT))),
        rows.filter(pc.greater_equal(at, pa.scalar(START + timedelta(days=60), INSTANT))),
    )
    trained = train(early, Request("isolation_forest", names, label_delay_days=3))
    model = artifact.verified(trained.files, "memory")
    notes = [
        [note for note in evaluate_model(model, part)["notes"] if "habits begin empty" in note]
        for part in (tail, rows)
    ]
    assert [len(found) for found in notes] == [1 if len(names) > 1 else 0, 0]
