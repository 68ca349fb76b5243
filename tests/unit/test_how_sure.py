"""How often alerts like this one were fraud: what the evaluation keeps of it, and what the page of an alert says."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fraudstream.dashboard.case import how_sure
from fraudstream.features.events import INSTANT
from fraudstream.model.finished import evaluate_scores
from fraudstream.store.alerts import Alert
from fraudstream.store.review import ONLY_FRAUDS, Verdicts

START = datetime(2024, 1, 1, tzinfo=UTC)


def scored(days: int = 60, a_day: int = 400) -> pa.Table:
    """Payments whose risk is below 10 % throughout: of the highest hundredth a half is fraud, and nothing else."""
    rng = np.random.default_rng(0)
    rows = days * a_day
    suspicious = rng.random(rows) < 0.01
    return pa.table({
        "transaction_id": [f"t{n}" for n in range(rows)],
        "user_id": [f"u{n}" for n in rng.integers(0, 900, rows)],
        "timestamp": pa.array([START + timedelta(days=n / a_day) for n in range(rows)], INSTANT),
        "amount": rng.uniform(1, 9, rows),
        "is_fraud": suspicious & (rng.random(rows) < 0.5),
        "risk": np.where(suspicious, rng.uniform(0.08, 0.09, rows), rng.uniform(0.0, 0.05, rows)),
    })  # fmt: skip


def test_an_evaluation_tells_how_often_what_it_flagged_was_fraud_within_each_tenth() -> None:
    """A tenth of the risk holds all that is below the threshold, too, where next to nothing is fraud."""
    report = evaluate_scores(scored(), 3, 0.01)
    (everything,), (flagged,) = report["calibration"], report["calibration_flagged"]
    assert everything["transactions"] > 9_000
    assert everything["fraud"] < 0.01
    assert 60 < flagged["transactions"] < 200
    assert 0.35 < flagged["fraud"] < 0.65
    assert 0.07 < flagged["risk"] < 0.09


NOBODY = Verdicts(0, 0, legitimate_known=True)
EVERYTHING = {"risk": 0.004, "fraud": 0.000011, "transactions": 88_687}
FLAGGED = {"risk": 0.07, "fraud": 0.12, "transactions": 431}
HIGH = {"risk": 0.44, "fraud": 0.6, "transactions": 50}
MANIFEST: dict[str, Any] = {
    "threshold": 0.05,
    "calibration": [EVERYTHING, HIGH],
    "calibration_flagged": [FLAGGED, HIGH],
}
OLD = {name: MANIFEST[name] for name in ("threshold", "calibration")}
TOO_FEW = "Too few similar alerts have been reviewed to say how often they are fraud."


def alert(risk: float) -> Alert:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return Alert(
        "t", "u", at, 20.0, "EUR", "ios", "Paris", "Lyon", "m-5", risk, [], [], "m1", at, None, at,
        {}, None, None, None, None, None,
    )  # fmt: skip


def test_an_alert_of_the_model_is_compared_with_what_the_model_would_have_flagged() -> None:
    assert how_sure(NOBODY, alert(0.06), MANIFEST) == (
        "In the model's evaluation, <b>12 %</b> of 431 flagged transactions with a risk of 0 to 10 % were fraud."
    )


def test_an_alert_of_a_rule_is_not_compared_with_the_transactions_that_nobody_looks_at() -> None:
    """Its risk is below the threshold, and a rule that matched makes it no usual one of these."""
    assert how_sure(NOBODY, alert(0.03), MANIFEST) == TOO_FEW
    assert how_sure(NOBODY, alert(0.03), OLD) == TOO_FEW


def test_a_model_of_before_is_believed_where_its_whole_tenth_was_flagged() -> None:
    assert how_sure(NOBODY, alert(0.45), OLD) == (
        "In the model's evaluation, <b>60 %</b> of 50 transactions with a risk of 40 to 50 % were fraud."
    )
    assert how_sure(NOBODY, alert(0.06), OLD) == TOO_FEW
    assert how_sure(NOBODY, alert(0.45), OLD | {"threshold": 0.4}) != TOO_FEW
    assert how_sure(NOBODY, alert(0.45), OLD | {"threshold": 0.41}) == TOO_FEW


@pytest.mark.parametrize(
    "manifest",
    [{}, {"threshold": 0.05}, MANIFEST | {"calibration_flagged": []}, {"calibration": [EVERYTHING, HIGH]}],
    ids=["no manifest", "no evaluation", "labels of one side", "no threshold"],
)
def test_nothing_is_said_of_a_model_that_tells_nothing(manifest: dict[str, Any]) -> None:
    assert how_sure(NOBODY, alert(0.45), manifest) == TOO_FEW


@pytest.mark.parametrize(
    ("fraud", "said"), [(0.004, "0.4 %"), (0.00002, "0.002 %"), (0.0, "0 %"), (1.0, "100 %")]
)
def test_a_share_is_called_nothing_only_if_it_is(fraud: float, said: str) -> None:
    flagged = FLAGGED | {"fraud": fraud}
    assert f"<b>{said}</b>" in how_sure(NOBODY, alert(0.06), MANIFEST | {"calibration_flagged": [flagged]})


def test_reviewed_alerts_tell_more_than_the_evaluation() -> None:
    verdicts = Verdicts(1, 999, legitimate_known=True)
    assert how_sure(verdicts, alert(0.06), MANIFEST) == (
        "Of 1,000 reviewed alerts with about this risk, <b>1</b> were fraud (0.1 %)."
    )
    few, only = replace(verdicts, confirmed=4, dismissed=0), Verdicts(9, 0, legitimate_known=False)
    assert "431 flagged transactions" in how_sure(few, alert(0.06), MANIFEST)
    assert how_sure(only, alert(0.03), MANIFEST) == ONLY_FRAUDS
