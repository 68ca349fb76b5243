"""Of a customer or a merchant without payments no reason tells a habit: the means that a decision saw are everybody's."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from msgspec.structs import asdict

from fraudstream.decision import Decision
from fraudstream.features.context import with_context
from fraudstream.features.definitions import FEATURES, select
from fraudstream.features.events import INSTANT
from fraudstream.model import packing
from fraudstream.model.algorithms import LABEL_FREE
from fraudstream.model.scoring import FileScorer
from fraudstream.reasons.explainer import Explainer
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
        "merchant m-17 has no recent payments on record; amount 3,204.00 is 40 times what is usual for everybody, 80.00"
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
    assert is_notable("amount_to_user_mean_7d", Payment(3204.0, SILENT | {"amount_to_user_mean_7d": 40.05}))
    assert told("user_mean_shift_1d", 4.0, SILENT) == (
        "this customer has no payments on record for about the last day"
    )
    assert not is_notable("user_mean_shift_1d", Payment(20.0, SILENT | {"user_mean_shift_1d": 4.0}))


Paid = tuple[str, float, float]
"""Customer, days before now, amount."""
NOW = datetime(2026, 1, 31, tzinfo=UTC)


def decided(features: Sequence[str], *paid: Paid, away: bool = False) -> Decision:
    """What a model of these features says of the last of these payments, made at home but for an `away` last one."""
    users, days, amounts = zip(*paid, strict=True)
    homes = ["Paris"] * len(paid)
    rows = pa.table({
        "transaction_id": [f"t{place}" for place in range(len(paid))], "user_id": users, "amount": amounts,
        "timestamp": pa.array([NOW - timedelta(days=day) for day in days], INSTANT), "device": ["pc"] * len(paid),
        "location": homes, "transaction_location": [*homes[1:], "Lagos" if away else "Paris"],
        "merchant_id": ["m-17"] * len(paid),
    })  # fmt: skip
    model = packing.unpack(packed("v1", ensemble(*((name, 1.0, -1.0, 1.0) for name in features)))[1], "v1")
    return [found for some in FileScorer(model).score_file(rows) for found in some][-1]


def told_of(feature: str, decision: Decision) -> str:
    """What is said of this feature of a decision."""
    return say(feature, Payment(decision.amount, decision.features, merchant_id="m-17"))


@pytest.mark.parametrize(
    ("customer", "said"),
    [
        ("newcomer", "41 times what is usual for everybody, 78.10"),
        ("old", "41 times this customer's usual 78.10"),
    ],
)
def test_a_label_free_model_tells_a_new_customer_from_one_with_habits(customer: str, said: str) -> None:
    """Its features are means and shares; the counts that they lean on come behind them in the decision."""
    paid: list[Paid] = [("old", 9 - hour / 24, 78.10) for hour in range(200)]
    decision = decided(LABEL_FREE, *paid, (customer, 0.0, 3204.0))
    for feature in ("amount", "amount_to_user_mean"):
        assert told_of(feature, decision) == f"amount 3,204.00 is {said}"


OTHERS: list[Paid] = [(f"u{hour % 40}", 24 - hour / 24, 100.0) for hour in range(200)]


def test_a_new_customer_has_no_largest_amount_whatever_else_the_model_looks_at() -> None:
    decision = decided(["amount_to_user_max"], *OTHERS, ("newcomer", 0.0, 3200.0))
    assert told_of("amount_to_user_max", decision) == (
        "amount 3,200.00 from a customer with no recent payments on record"
    )


def test_a_model_of_the_last_week_alone_tells_the_customers_own_usual() -> None:
    """Everybody's 100.00, on which the feature leans, are taken out."""
    own: list[Paid] = [("c", 15.0 - day, 50.0) for day in range(15)]
    decision = decided(["amount_to_user_mean_7d"], *OTHERS, *own, ("c", 0.0, 300.0))
    assert decision.amount / decision.features["amount_to_user_mean_7d"] > 53
    assert told_of("amount_to_user_mean_7d", decision) == (
        "amount 300.00 is 6.0 times this customer's usual of the last 7 days, 50.00"
    )


def test_a_model_of_the_last_week_alone_tells_no_week_in_which_nothing_was_paid() -> None:
    """Of many payments before it the counter holds several still; only the time of the last one tells."""
    own: list[Paid] = [("c", 15.0 - hour / 24, 50.0) for hour in range(6 * 24)]
    decision = decided(["amount_to_user_mean_7d"], *OTHERS, *own, ("c", 0.0, 300.0))
    assert told_of("amount_to_user_mean_7d", decision).startswith(
        "amount 300.00 is 6.0 times this customer's usual 50."
    )


@pytest.mark.parametrize(
    ("customer", "said"),
    [
        ("c", "amount 3,200.00 is 40 times this customer's usual 80."),
        ("newcomer", "amount 3,200.00 is 37 times what is usual for everybody, 85."),
    ],
)
def test_an_alert_names_the_amount_also_after_a_week_without_a_payment(customer: str, said: str) -> None:
    own: list[Paid] = [("c", 29.0 - hour / 24, 80.0) for hour in range(20 * 24)]
    paid = sorted([*OTHERS, *own], key=lambda one: -one[1])
    features = ("location_change", "amount_to_user_mean_7d")
    decision = decided(features, *paid, (customer, 0.0, 3200.0), away=True)
    trees = ensemble(("location_change", 0.5, -1.0, 1.0), ("amount_to_user_mean_7d", 3.0, -1.0, 1.0))
    (reasons,) = Explainer("v1", trees).reasons([asdict(decision)], {})
    place, amount = (reason["sentence"] for reason in reasons)
    assert place == "paid in Lagos, home is Paris"
    assert amount.startswith(said)


@pytest.mark.parametrize(
    ("feature", "span"), [("user_mean_shift_1d", "day"), ("user_mean_shift_7d", "7 days")]
)
def test_a_model_of_a_shift_alone_knows_a_customer_who_always_pays_the_same(feature: str, span: str) -> None:
    own: list[Paid] = [("c", 15.5 - day, 10.0) for day in range(16)]
    decision = decided([feature], *OTHERS, *own, ("c", 0.0, 10.0))
    assert decision.features[feature] > 1.2
    assert told_of(feature, decision) == f"amounts of the last {span} are about this customer's usual"


def test_what_a_reason_is_told_with_asks_for_no_further_field_of_a_transaction() -> None:
    for name, feature in FEATURES.items():
        assert {need for one in select(with_context([name])) for need in one.needs} == set(feature.needs)


FEW_TENS: list[Paid] = [*OTHERS, ("c", 3.0, 10.0), ("c", 2.0, 10.0)]
"""A customer who paid 10.00 twice, where everybody pays 100.00: with the weight of one payment, the mean is 41.00."""


@pytest.mark.parametrize(
    "features",
    [
        ["amount_to_user_mean"],
        ["user_amount_mean"],
        ["user_amount_deviation", "amount_to_user_mean"],
        ["amount", "user_spent_7d"],
    ],
    ids="+".join,
)
def test_a_usual_amount_is_one_that_the_customer_paid(features: list[str]) -> None:
    """Also where the mean is only in the decision to tell another feature."""
    decision = decided(features, *FEW_TENS, ("c", 0.0, 300.0))
    assert told_of(features[0], decision) == "amount 300.00 is 30 times this customer's usual 10.00"


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (300.0, "300.00 is 22 times the usual spread above this customer's usual 10.00"),
        (20.0, "20.00 is 2.0 times this customer's usual 10.00"),
    ],
)
def test_a_spread_is_not_told_on_the_other_side_of_the_usual_amount(amount: float, said: str) -> None:
    """20.00 is below the mean that leans on everybody's, and above what this customer ever paid."""
    decision = decided(["user_amount_z"], *FEW_TENS, ("c", 0.0, amount))
    assert told_of("user_amount_z", decision) == f"amount {said}"


def test_an_amount_far_from_a_customers_own_is_notable_though_near_everybodys() -> None:
    decision = decided(["amount_to_user_mean"], *FEW_TENS, ("c", 0.0, 41.0))
    assert 0.9 < decision.features["amount_to_user_mean"] < 1.1
    payment = Payment(decision.amount, decision.features)
    assert is_notable("amount_to_user_mean", payment)
    assert not is_notable(
        "amount_to_user_mean",
        Payment(10.0, decided(["amount_to_user_mean"], *FEW_TENS, ("c", 0.0, 10.0)).features),
    )
