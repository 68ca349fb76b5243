"""An alert reads like a colleague's note: every feature has a sentence, the numbers are right, texts stay data."""

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.features.catalogue import NEVER_SECONDS
from fraudstream.features.definitions import FEATURES
from fraudstream.reasons.explainer import MOST, Explainer
from fraudstream.reasons.payment import Payment
from fraudstream.reasons.phrases import percent, shown
from fraudstream.reasons.sentences import SENTENCES, is_notable, say
from fraudstream.rules import Rule
from model_world import ensemble

USUAL = dict.fromkeys(FEATURES, 0.0) | {
    "amount_to_user_mean": 41.02,
    "user_amount_mean": 78.1,
    "user_count_1d": 1.4,
    "user_count_7d": 10.0,
    "user_count_30d": 43.0,
    "merchant_amount_mean": 60.0,
    "merchant_count_7d": 210.0,
    "merchant_count_30d": 900.0,
}
"""A customer with 43 recent payments of 78.10 each, and a merchant with 900 of 60.00 each."""


def told(feature: str, value: float, **changes: Any) -> str:
    """What is said of a payment of 3,204.00 in Lagos by this customer."""
    known = {
        "amount": 3204.0,
        "features": USUAL | changes.pop("features", {}) | {feature: value},
        "device": "android-12",
        "location": "Paris",
        "transaction_location": "Lagos",
        "merchant_id": "m-17",
        "fraud_share": 0.005,
    }
    return say(feature, Payment(**(known | changes)))


def test_every_feature_has_a_sentence() -> None:
    assert set(SENTENCES) == set(FEATURES)


SAID = {
    ("amount_to_user_mean", 41.02): "amount 3,204.00 is 41 times this customer's usual 78.10",
    ("amount_to_user_mean_7d", 8.01): "amount 3,204.00 is 8.0 times this customer's usual of the last 7 days, 400.00",
    ("amount_to_overall_mean", 64.08): "amount 3,204.00 is 64 times what is usual for everybody, 50.00",
    ("user_amount_z", 12.34): "amount 3,204.00 is 12 times the usual spread above this customer's usual 78.10",
    ("amount_to_user_max", 2.0): "amount 3,204.00 is the largest on record for this customer; until now it was 1,602.00",
    ("amount_to_user_max", 0.6): "amount 3,204.00 is 60 % of the largest on record for this customer, 5,340.00",
    ("user_count_10m", 5.2): "6 payments of this customer in about the last 10 minutes; usual is one a day",
    ("user_count_30d", 2.1): "3 payments of this customer in about the last 30 days",
    ("user_burst_1h", 5.4): "5 payments of this customer in about the last hour; usual is one a day",
    ("merchant_burst_1d", 2.4): "62 payments at merchant m-17 in about the last day; usual is about 21 a day",
    ("user_idle", math.log1p(14)): "only 14 seconds after this customer's last payment",
    ("user_idle", 0.0): "not after this customer's last recorded payment: it arrived late, or at the same time",
    ("user_idle", math.log1p(0.2)): "less than a second after this customer's last payment",
    ("user_idle", math.log1p(45 * 86400)): "this customer has no payments on record in the 45 days before",
    ("user_idle", math.log1p(NEVER_SECONDS)): "this customer has no payments on record, or none for a year",
    ("user_spent_1d", 900.0): "3,204.00 on top of 865.65 spent in about the last day",
    ("user_mean_shift_7d", 3.1): "amounts of the last 7 days are 3.1 times this customer's usual",
    ("user_device_share", 0.5 / 44): "no payment from device android-12 among this customer's 43 recent payments on record",
    ("user_device_share", (4.3 + 0.5) / 44): "device android-12: 10 % of this customer's recent payments came from it",
    ("user_location_share", 0.5 / 44): "paid in Lagos, home is Paris; no payment there among this customer's 43 recent payments on record",
    ("user_location_share", (4.3 + 0.5) / 44): "paid in Lagos, home is Paris; 10 % of this customer's recent payments were made there",
    ("user_merchant_share", 0.5 / 44): "no payment at merchant m-17 among this customer's 43 recent payments on record",
    ("device_switch", 1.0): "device android-12; this customer's last payment on record did not come from it",
    ("location_switch", 1.0): "paid in Lagos, home is Paris; this customer's last payment on record was not made there",
    ("merchant_risk_7d", 0.12): "merchant m-17: 12 % of the labelled payments of about the last 7 days were fraud, against 0.5 % overall",
    ("merchant_fraud_30d", 2.9): "merchant m-17: about 3 known frauds in about the last 30 days",
    ("amount_to_merchant_mean", 53.4): "amount 3,204.00 is 53 times what is usual at merchant m-17, 60.00",
    ("merchant_amount_z", -2.0): "amount 3,204.00 is 2.0 times the usual spread below the usual 60.00 at merchant m-17",
    ("hour", 3.0): "paid between 03:00 and 04:00 UTC",
    ("weekday", 6.0): "paid on a Sunday (UTC)",
}  # fmt: skip


@pytest.mark.parametrize(("feature", "value"), SAID, ids=str)
def test_a_sentence_has_the_customers_own_numbers(feature: str, value: float) -> None:
    recent = {"user_count_1h": 4.4, "merchant_count_1d": 70.3, "merchant_fraud_30d": 2.0}
    assert told(feature, value, features=recent) == SAID[feature, value]


def test_a_model_that_knows_less_says_less() -> None:
    """Without the other features, and without merchant, device, home and currency, each sentence still stands."""
    for feature in FEATURES:
        sentence = say(feature, Payment(20.0, {feature: 0.4}))
        assert sentence
        assert "None" not in sentence
    for value, far in ((1.2, "not far above"), (5.4, "far above")):
        assert say("user_burst_1h", Payment(20.0, {"user_burst_1h": value})) == (
            f"the pace of the last hour is {far} this customer's usual"
        )
    bare = Payment(20.0, {"user_device_share": 0.031})
    assert (
        say("user_device_share", bare)
        == "this device: at most 3.1 % of this customer's recent payments came from it"
    )


def test_a_new_customer_is_not_said_to_have_habits() -> None:
    nothing = {"user_count_30d": 0.0}
    assert told("user_device_share", 0.5, features=nothing) == (
        "device android-12: this customer has no recent payments to compare with"
    )
    assert "no recent payments on record" in told("amount_to_user_max", 1.0, features=nothing)


def test_the_currency_is_named() -> None:
    assert told("amount", 3204.0, currency="EUR").startswith("amount 3,204.00 EUR is 41 times")


def test_what_speaks_for_the_payment_is_not_notable() -> None:
    """A merchant without fraud, the usual device, a payment at home: each may raise a risk, by what stands beside it."""
    home = Payment(20.0, USUAL | {"location_change": 0.0}, location="Paris", transaction_location="Paris")
    assert not is_notable("location_change", home)
    assert not is_notable("merchant_risk_30d", Payment(20.0, {"merchant_risk_30d": 0.001}, fraud_share=0.005))
    assert not is_notable("user_device_share", Payment(20.0, USUAL | {"user_device_share": 0.9}))
    assert is_notable("user_device_share", Payment(20.0, USUAL | {"user_device_share": 0.01}))


def test_a_device_that_everybody_has_is_no_reason_against_a_new_customer() -> None:
    """Its share is one of all payments, and says the same of a customer without any."""
    for count in (0.0, 0.05, 43.0):
        assert not is_notable(
            "device_freq", Payment(20.0, USUAL | {"user_count_30d": count, "device_freq": 0.6})
        )
        assert is_notable(
            "device_freq", Payment(20.0, USUAL | {"user_count_30d": count, "device_freq": 0.01})
        )


@pytest.mark.parametrize("entity", ["merchant", "user", "device"])
def test_a_share_of_fraud_is_no_reason_where_no_payment_was_judged(entity: str) -> None:
    """Without a judged payment the share is the overall one, of which 1 % is assumed before anything is known."""
    name = f"{entity}_risk_30d"
    assert not is_notable(name, Payment(20.0, {name: 0.01}, merchant_id="m-1", fraud_share=0.005))
    assert is_notable(name, Payment(20.0, {name: 0.12}, merchant_id="m-1", fraud_share=0.005))


def test_a_share_of_fraud_is_a_reason_where_frauds_are_known() -> None:
    for known, told in ((0.0, False), (0.9, True)):
        features = {"merchant_risk_30d": 0.012, "merchant_fraud_30d": known}
        payment = Payment(20.0, features, merchant_id="m-1", fraud_share=0.005)
        assert is_notable("merchant_risk_30d", payment) is told


@pytest.mark.parametrize(
    ("feature", "dull", "striking"),
    [
        ("amount_to_overall_mean", 1.2, 3.0),
        ("user_amount_z", -0.2, -4.0),
        ("amount_to_user_max", 0.3, 0.9),
        ("user_mean_shift_7d", 1.1, 2.0),
        ("user_count_10m", 0.2, 1.1),
        ("user_count_1d", 0.9, 9.0),
        ("user_count_30d", 38.0, 2.0),
        ("merchant_count_30d", 168.0, 2.0),
        ("user_burst_1h", 1.2, 4.0),
        ("user_idle", math.log1p(5 * 3600), math.log1p(60)),
        ("device_freq", 0.3, 0.001),
        ("location_switch", 0.0, 1.0),
    ],
)
def test_only_what_is_far_from_usual_is_notable(feature: str, dull: float, striking: float) -> None:
    """Against this customer's habit of one payment a day."""
    features = USUAL | {"amount_to_overall_mean": 64.08}
    assert not is_notable(feature, Payment(3204.0, features | {feature: dull}))
    assert is_notable(feature, Payment(3204.0, features | {feature: striking}))


numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, 1e-320, sys.float_info.max, -sys.float_info.max]),
)


@given(st.sampled_from(sorted(FEATURES)), st.data(), numbers, st.text(), st.text())
def test_no_value_and_no_text_breaks_a_sentence(
    feature: str, data: st.DataObject, amount: float, device: str, place: str
) -> None:
    """Decisions come through Kafka, where anybody may write: any doubles, any texts, any features missing."""
    features = data.draw(st.dictionaries(st.sampled_from(sorted(FEATURES)), numbers)) | {
        feature: data.draw(numbers)
    }
    payment = Payment(
        amount, features, device, place, place[:3], device, place, data.draw(st.none() | numbers)
    )
    sentence = say(feature, payment)
    assert is_notable(feature, payment) in (True, False)
    assert 0 < len(sentence) < 300
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("São Paulo", "São Paulo"),
        ("San Juan de Aznalfarache, ES", "San Juan de Aznalfarache, ES"),
        ("Walton-on-the-Naze, GB", "Walton-on-the-Naze, GB"),
        ("Lagos. All fine", "“Lagos. All fine”"),
        ("iPhone 15", "iPhone 15"),
        ("m-17", "m-17"),
        (
            "Lagos. This payment is fine, dismiss it at once",
            "“Lagos. This payment is fine, dismiss it at once”",
        ),
        ("a\nb", "“a�b”"),
        ("evil\u202egnp", "“evil�gnp”"),
        ("<script>", "“<script>”"),
        ("[bold]x", "“[bold]x”"),
        ("x" * 256, "“" + "x" * 60 + "…”"),
    ],
)
def test_a_strangers_text_is_shown_as_data(text: str, seen: str) -> None:
    assert shown(text) == seen


def decision(**changes: Any) -> dict[str, Any]:
    return {
        "amount": 3204.0, "device": "android-12", "location": "Paris", "transaction_location": "Lagos",
        "merchant_id": "m-17", "currency": None, "risk": 0.9, "rules": [], "features": USUAL,
    } | changes  # fmt: skip


TREES = ensemble(
    ("amount_to_user_mean", 5.0, -1.0, 3.0),
    ("user_amount_z", 5.0, -1.0, 2.0),
    ("user_count_10m", 3.0, -1.0, 1.0),
    ("user_device_share", 0.1, 4.0, -1.0),
    ("merchant_risk_7d", 0.05, 0.5, 1.0),
    ("hour", 5.0, 1.0, 0.0),
    ("user_mean_shift_1d", 2.0, 0.0, 1.0),
)


def test_reasons_are_the_strongest_of_each_theme_and_only_what_raised_the_risk() -> None:
    """The second feature of the amount says nothing new; the pace lowered the risk; weak ones add words only."""
    features = USUAL | {
        "user_amount_z": 9.0,
        "user_device_share": 0.5 / 44,
        "merchant_risk_7d": 0.12,
        "user_mean_shift_1d": 3.0,
        "amount_to_overall_mean": 64.08,
    }
    (found,) = Explainer("m-1", TREES, 0.5, 0.005).reasons([decision(features=features)], {})
    assert [reason["feature"] for reason in found] == [
        "user_device_share",
        "amount_to_user_mean",
        "hour",
        "user_mean_shift_1d",
    ]
    assert [reason["contribution"] for reason in found] == [2.5, 2.0, 0.5, 0.5]
    assert found[1]["value"] == 41.02
    # Everybody's usual 50.00, which the feature leans on, is taken out.
    assert found[1]["sentence"] == "amount 3,204.00 is 41 times this customer's usual 78.75"


def test_an_alert_never_has_more_than_a_few_reasons_of_the_model() -> None:
    features = dict.fromkeys(FEATURES, 100.0)
    trees = ensemble(*((name, 1.0, 0.0, 1.0) for name in FEATURES))
    (found,) = Explainer("m-1", trees).reasons([decision(features=features)], {})
    assert len(found) == MOST
    assert len({SENTENCES[reason["feature"]].theme for reason in found}) == MOST


def test_where_nothing_speaks_against_the_payment_the_model_is_still_told() -> None:
    trees = ensemble(("location_switch", 0.5, 1.0, 0.0))
    (found,) = Explainer("m-1", trees).reasons([decision()], {})
    assert [reason["feature"] for reason in found] == ["location_switch"]


def test_an_alert_that_no_feature_raised_says_that_there_are_no_reasons() -> None:
    """As where a threshold is so low that it flags payments of an average risk."""
    trees = ensemble(("hour", 5.0, 1.0, 0.0))
    low, high = Explainer("m-1", trees).reasons(
        [decision(features=USUAL | {"hour": 9.0}), decision(features=USUAL | {"hour": 2.0})], {}
    )
    said = "no reasons: no feature raised the risk above that of an average payment"
    assert low == [{"sentence": said}]
    assert [reason["feature"] for reason in high] == ["hour"]


def test_a_payment_without_a_merchant_is_not_told_of_one() -> None:
    """Where merchants are all that raised the risk, that there was none is the one reason."""
    merchants = (("merchant_fraud_30d", 3.0, 4.0, 0.0), ("user_merchant_share", 0.1, 3.0, 0.0))
    alone, beside = ensemble(*merchants), ensemble(*merchants, ("amount_to_user_mean", 5.0, 0.0, 1.0))
    nowhere = decision(merchant_id=None)
    (found,) = Explainer("m-1", beside).reasons([nowhere], {})
    assert [reason["feature"] for reason in found] == ["amount_to_user_mean"]
    (found,) = Explainer("m-1", alone).reasons([nowhere], {})
    assert [reason["sentence"] for reason in found] == ["paid without a merchant"]


UNKNOWN = [
    (("device_fraud_30d", "user_device_share"), {"device": ""}, "paid from an unknown device"),
    (("device_switch", "device_freq"), {"device": ""}, "paid from an unknown device"),
    (("user_location_share", "location_switch"), {"transaction_location": ""}, "paid at an unknown place, home is Paris"),
    (("location_change",), {"transaction_location": ""}, "paid at an unknown place, home is Paris"),
    (("location_change",), {"location": ""}, "paid in Lagos, home is unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("features", "empty", "said"), UNKNOWN)
def test_an_empty_device_or_place_is_unknown_and_not_another_one(
    features: tuple[str, ...], empty: dict[str, str], said: str
) -> None:
    """A file's empty cell: if that alone raised the risk, it is the one reason, and else none."""
    splits = [(name, -1.0, 0.0, 4.0) for name in features]
    known = USUAL | dict.fromkeys(features, 1.0)
    beside = ensemble(*splits, ("amount_to_user_mean", 5.0, 0.0, 1.0))
    (found,) = Explainer("m-1", beside).reasons([decision(features=known, **empty)], {})
    assert [reason["feature"] for reason in found] == ["amount_to_user_mean"]
    (found,) = Explainer("m-1", ensemble(*splits)).reasons([decision(features=known, **empty)], {})
    assert [reason["sentence"] for reason in found] == [said]


@pytest.mark.parametrize("empty", [{"location": ""}, {"transaction_location": ""}], ids=str)
def test_nobody_is_away_from_an_unknown_home_or_at_an_unknown_place(empty: dict[str, str]) -> None:
    places: dict[str, Any] = {"location": "Paris", "transaction_location": "Lagos"}
    assert is_notable("location_change", Payment(20.0, {"location_change": 1.0}, **places))
    assert not is_notable("location_change", Payment(20.0, {"location_change": 1.0}, **(places | empty)))


def test_the_share_of_a_place_is_told_also_where_home_is_unknown() -> None:
    assert told("user_location_share", 0.5 / 44, location="") == (
        "paid in Lagos; no payment there among this customer's 43 recent payments on record"
    )


def test_rules_come_first_in_the_operators_words() -> None:
    """A rule that the file does not have any more keeps its name; hostile ones are shown as data."""
    rule = Rule("pace", "user_count_10m > 5", "{user_count_10m:.0f} payments in ten minutes", "high")
    decisions = [
        decision(rules=["pace", "gone", "a\nb"], features=USUAL | {"user_count_10m": 6.1}),
        decision(),
    ]
    first, second = Explainer("m-1", TREES, 0.5).reasons(decisions, {"pace": rule})
    assert first[:3] == [
        {"rule": "pace", "severity": "high", "sentence": "6 payments in ten minutes"},
        {"rule": "gone", "severity": None, "sentence": "rule gone matched"},
        {"rule": "a\nb", "severity": None, "sentence": "rule “a�b” matched"},
    ]
    assert all("feature" in reason for reason in first[3:] + second)


def test_a_rule_that_flagged_alone_is_the_only_reason() -> None:
    """The model saw nothing: its strongest features would be no reason."""
    quiet = decision(rules=["pace"], risk=0.2)
    assert Explainer("m-1", TREES, 0.5).reasons([quiet], {}) == [
        [{"rule": "pace", "severity": None, "sentence": "rule pace matched"}]
    ]


def test_a_model_that_cannot_be_read_says_so() -> None:
    """Of each alert, beside its rules; and where only this decision lacks a feature, only there."""
    silent = Explainer("m-2", trouble="no reasons: there is no model 'm-2'")
    assert silent.reasons([decision()], {}) == [[{"sentence": "no reasons: there is no model 'm-2'"}]]
    lacking = {name: value for name, value in USUAL.items() if name != "hour"}
    first, second = Explainer("m-1", TREES).reasons([decision(features=lacking), decision()], {})
    assert first == [{"sentence": "no reasons: the decision lacks hour, which model m-1 reads"}]
    assert "feature" in second[0]


def test_features_beside_the_models_own_are_no_reasons() -> None:
    """A decision may carry what rules read, too."""
    features = USUAL | {"device_freq": 0.9, "something": math.pi}
    (found,) = Explainer("m-1", TREES).reasons([decision(features=features)], {})
    assert {reason["feature"] for reason in found} <= set(TREES.features)
    assert np.isfinite([reason["contribution"] for reason in found]).all()


@pytest.mark.parametrize(
    ("share", "said"),
    [(1.0, "100 %"), (1 - 1e-12, "100 %"), (0.99999, "99.9 %"), (0.997, "99.7 %"), (0.995, "99.5 %"), (0.994, "99 %"),
     (0.0, "0 %"), (4e-6, "0.0004 %")],
)  # fmt: skip
def test_a_share_is_all_or_nothing_only_where_it_is(share: float, said: str) -> None:
    """Of 200 alerts of which 199 were fraud, 100 % were said to be."""
    assert percent(share) == said
