"""No reason states what the profiles do not tell: verdicts that nobody gave, payments that nobody made."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from msgspec.structs import asdict

from fraudstream.features.context import with_context
from fraudstream.features.events import INSTANT
from fraudstream.features.training import view
from fraudstream.model import packing
from fraudstream.model.scoring import FileScorer
from fraudstream.reasons.explainer import Explainer
from fraudstream.reasons.payment import Payment
from fraudstream.reasons.sentences import is_notable, say
from model_world import ensemble, packed

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize("label", ["7d", "30d"])
@pytest.mark.parametrize("entity", ["merchant", "user", "device"])
def test_no_share_of_labelled_payments_is_told_where_none_was_labelled(entity: str, label: str) -> None:
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
    assert say("device_risk_30d", payment).startswith("device Pixel 9: 12 % of the labelled payments")


def test_a_model_counts_the_frauds_of_a_device_only_if_asked() -> None:
    """Of a phone that many people have many frauds are known: its share says more, and the count only tells of it."""
    table = pa.table({
        "timestamp": [NOW], "amount": [1.0], "user_id": ["u"], "device": ["d"], "merchant_id": ["m"], "is_fraud": [True],
    })  # fmt: skip
    assert {"merchant_fraud_30d", "device_risk_30d"} < set(view(table).names)
    assert "device_fraud_30d" not in view(table).names
    assert view(table, names=("device_fraud_30d",)).values.tolist() == [[0.0]]


DEVICE, PLACE = "device Pixel 9", "paid at home in Paris"


def told(feature: str, *before: tuple[float, bool]) -> str:
    """The reason of a model of one split on `feature`, of a payment behind these: days before it, whether with its device and place."""
    days, same = zip(*before, (0.0, True), strict=True)
    table = pa.table({
        "timestamp": pa.array([NOW - timedelta(days=day) for day in days], INSTANT), "user_id": ["u"] * len(days),
        "transaction_id": [str(place) for place in range(len(days))], "amount": [10.0] * len(days),
        "device": ["Pixel 9" if one else "other" for one in same], "location": ["Paris"] * len(days),
        "transaction_location": ["Paris" if one else "Lagos" for one in same],
    })  # fmt: skip
    trees = ensemble((feature, 0.5, 1.0, 0.0))
    scorer = FileScorer(packing.unpack(packed("v1", trees)[1], "v1"))
    decision = scorer.score_arrivals(table, NOW + timedelta(days=9))[-1]
    (reasons,) = Explainer("v1", trees).reasons([asdict(decision)], {})
    return str(reasons[0]["sentence"])


@pytest.mark.parametrize(("feature", "where"), [("device_switch", DEVICE), ("location_switch", PLACE)])
def test_no_last_payment_is_told_of_a_customer_without_one(feature: str, where: str) -> None:
    assert told(feature) == f"{where}; this customer has no recent payments to compare with"


@pytest.mark.parametrize(
    ("feature", "said"), [("device_switch", f"{DEVICE}; this customer's last payment on record came from it, too"),
                          ("location_switch", f"{PLACE}; this customer's last payment on record was made there, too")],
)  # fmt: skip
def test_the_last_payment_is_told_where_there_is_one(feature: str, said: str) -> None:
    assert told(feature, (3.0, False), (1.0, True)) == said


@pytest.mark.parametrize(
    ("feature", "said"), [("device_switch", f"{DEVICE}; a payment of this customer from it, of the same moment or later, is on record"),
                          ("location_switch", f"{PLACE}; a payment of this customer there, of the same moment or later, is on record")],
)  # fmt: skip
def test_of_a_late_payment_the_last_one_on_record_is_not_told_as_the_one_before(
    feature: str, said: str
) -> None:
    """The last one, a day later, was made elsewhere; the profile knows only that one with this device came after it."""
    assert told(feature, (-0.5, True), (-1.0, False)) == said
