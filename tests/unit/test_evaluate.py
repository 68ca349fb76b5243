"""Evaluating what exists already: which customers count, and on how little anything can still be said."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fraudstream.features.profiles import INSTANT
from fraudstream.model.dataset import dataset
from fraudstream.model.evaluation import blocked
from fraudstream.model.finished import evaluate_scores
from fraudstream.model.folds import DAY, Fold
from fraudstream.model.tables import read_transactions

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
