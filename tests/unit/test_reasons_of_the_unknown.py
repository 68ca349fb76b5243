"""No reason states what the profiles do not tell: verdicts that nobody gave, payments that nobody made."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from fraudstream.features.definitions import with_context
from fraudstream.features.training import view
from fraudstream.reasons.payment import Payment
from fraudstream.reasons.sentences import is_notable, say

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize("label", ["7d", "30d"])
@pytest.mark.parametrize("entity", ["merchant", "user", "device"])
def test_no_share_of_judged_payments_is_told_where_none_was_judged(entity: str, label: str) -> None:
    """Where people judge frauds above all, the share that is assumed of everybody else is half."""
    own = {"merchant_id": "m-1", "user_id": "u-1", "device": "Pixel 9"}
    judged = 600
    table = pa.table({
        "timestamp": [NOW + timedelta(minutes=place) for place in range(judged + 1)], "amount": [10.0] * (judged + 1),
        "is_fraud": [*(place % 2 == 0 for place in range(judged)), None],
        **{field: [*[f"other {field}"] * judged, text] for field, text in own.items()},
    })  # fmt: skip
    name = f"{entity}_risk_{label}"
    names = with_context((name,))
    found = dict(zip(names, view(table, 0, names).values[-1].tolist(), strict=True))
    assert 0.4 < found[name] < 0.6
    payment = Payment(20.0, found, merchant_id="m-1", device="Pixel 9", fraud_share=0.005)
    assert not is_notable(name, payment)
    who = {"merchant": "merchant m-1", "user": "this customer", "device": "device Pixel 9"}[entity]
    assert say(name, payment) == f"{who}: no known fraud in about the last 30 days"


def test_a_share_of_fraud_is_told_of_a_device_with_known_frauds() -> None:
    found = {"device_risk_30d": 0.12, "device_fraud_30d": 3.1}
    payment = Payment(20.0, found, device="Pixel 9", fraud_share=0.005)
    assert is_notable("device_risk_30d", payment)
    assert say("device_risk_30d", payment).startswith("device Pixel 9: 12 % of the judged payments")


def test_a_model_counts_the_frauds_of_a_device_only_if_asked() -> None:
    """Of a phone that many people have many frauds are known: its share says more, and the count only tells of it."""
    table = pa.table({
        "timestamp": [NOW], "amount": [1.0], "user_id": ["u"], "device": ["d"], "merchant_id": ["m"], "is_fraud": [True],
    })  # fmt: skip
    assert {"merchant_fraud_30d", "device_risk_30d"} < set(view(table).names)
    assert "device_fraud_30d" not in view(table).names
    assert view(table, names=("device_fraud_30d",)).values.tolist() == [[0.0]]
