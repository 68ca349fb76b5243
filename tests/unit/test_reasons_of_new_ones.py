"""Of a customer or a merchant without payments no reason tells a habit: the means that a decision saw are everybody's."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from fraudstream.features.profiles import INSTANT
from fraudstream.model import packing
from fraudstream.model.algorithms import LABEL_FREE
from fraudstream.model.scoring import Scorer
from fraudstream.reasons.payment import Payment
from fraudstream.reasons.sentences import is_notable, say
from model_world import ensemble, packed

NEW_CUSTOMER = {
    "user_count_1d": 0.0, "user_count_7d": 0.0, "user_count_30d": 0.0, "user_amount_mean": 80.0, "amount_to_user_mean": 40.05,
}  # fmt: skip
NEW_MERCHANT = {
    "merchant_count_30d": 0.0,
    "merchant_amount_mean": 80.0,
    "amount_to_merchant_mean": 40.05,
}
SILENT = {"user_count_1d": 0.001, "user_count_7d": 0.009, "user_count_30d": 3.0, "user_amount_mean": 20.0}


def told(feature: str, value: float, features: dict[str, float]) -> str:
    """What is said of a payment of 3,204.00."""
    return say(feature, Payment(3204.0, features | {feature: value}, merchant_id="m-17"))


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        ("amount", 3204.0),
        ("amount_log", 8.07),
        ("user_amount_mean", 80.0),
        ("user_amount_deviation", 40.0),
        ("amount_to_user_mean", 40.05),
        ("amount_to_user_mean_7d", 40.05),
        ("user_amount_z", 78.1),
    ],
)
def test_what_is_usual_for_everybody_is_not_called_a_new_customers_own(feature: str, value: float) -> None:
    """Without a payment of the customer the features lean on everybody's mean, and on half of it for the spread."""
    assert told(feature, value, NEW_CUSTOMER) == (
        "amount 3,204.00 is 40 times what is usual for everybody, 80.00"
    )


@pytest.mark.parametrize(
    ("feature", "value"),
    [("merchant_amount_mean", 80.0), ("amount_to_merchant_mean", 40.05), ("merchant_amount_z", 78.1)],
)
def test_what_is_usual_for_everybody_is_not_called_usual_at_a_new_merchant(
    feature: str, value: float
) -> None:
    assert told(feature, value, NEW_MERCHANT) == (
        "no recent payment at merchant m-17 is remembered; amount 3,204.00 is 40 times what is usual for everybody, 80.00"
    )


@pytest.mark.parametrize("feature", ["user_burst_1h", "user_mean_shift_7d", "user_count_1h"])
def test_a_new_customer_has_no_usual_pace_and_no_usual_amounts(feature: str) -> None:
    assert "usual" not in told(feature, 1.0, NEW_CUSTOMER)


def test_a_new_merchant_has_no_usual_pace() -> None:
    assert "usual" not in told("merchant_burst_1h", 1.0, NEW_MERCHANT)


def test_a_time_of_which_no_payment_is_remembered_is_not_told_as_one_of_unusual_amounts() -> None:
    """Of such a time the mean is everybody's, which may be far from what this customer usually pays."""
    assert told("amount_to_user_mean_7d", 40.05, SILENT) == (
        "amount 3,204.00 is 160 times this customer's usual 20.00"
    )
    assert told("user_mean_shift_1d", 4.0, SILENT) == (
        "no payment of this customer is remembered of about the last day"
    )
    assert not is_notable("user_mean_shift_1d", Payment(20.0, SILENT | {"user_mean_shift_1d": 4.0}))


@pytest.mark.parametrize(
    ("customer", "said"),
    [
        ("newcomer", "41 times what is usual for everybody, 78.10"),
        ("old", "41 times this customer's usual 78.10"),
    ],
)
def test_a_label_free_model_tells_a_new_customer_from_one_with_habits(customer: str, said: str) -> None:
    """Its features are means and shares; the counts that they lean on come behind them in the decision."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    paid = [("old", start + timedelta(hours=hour), 78.10) for hour in range(200)]
    users, times, amounts = zip(*paid, (customer, start + timedelta(days=9), 3204.0), strict=True)
    rows = pa.table({
        "transaction_id": [f"t{place}" for place in range(len(users))], "user_id": users,
        "timestamp": pa.array(times, INSTANT), "amount": amounts, "device": ["pc"] * len(users),
        "location": ["home"] * len(users), "transaction_location": ["home"] * len(users),
        "merchant_id": ["m-17"] * len(users),
    })  # fmt: skip
    model = packing.unpack(packed("v1", ensemble(*((name, 1.0, -1.0, 1.0) for name in LABEL_FREE)))[1], "v1")
    decision = [d for some in Scorer(model).score_file(rows) for d in some][-1]
    payment = Payment(decision.amount, decision.features, merchant_id="m-17")
    for feature in ("amount", "amount_to_user_mean"):
        assert say(feature, payment) == f"amount 3,204.00 is {said}"
