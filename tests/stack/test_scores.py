"""Decisions in PostgreSQL, without Spark: the first of each transaction, alerts, and what is counted of them."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraudstream.decision import CONTEXT
from fraudstream.kafka import Messages
from fraudstream.local.home import Home
from fraudstream.rules import Rule
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.store import registry
from fraudstream.store.connection import connect
from fraudstream.store.slices import NO_RULES, Outcome, store_slice
from fraudstream.store.targets import select
from hours import counted_hours, hourly
from model_world import ensemble, packed
from rows import query
from samples import DECISION, REFUSAL, decision
from slice_world import SOURCE, Step, Topic, moment, run_history, steps, topics

TREES = ensemble(("amount_to_user_mean", 5.0, -1.0, 3.0), ("user_count_10m", 3.0, 0.0, 1.0))
FEATURES = {"amount_to_user_mean": 41.0, "user_count_10m": 5.2}


def store(
    postgres: PostgresSettings,
    *values: bytes | None,
    first: int = 0,
    rules: Mapping[str, Rule] = NO_RULES,
) -> Outcome:
    messages = Messages(range(first, first + len(values)), [b"u"] * len(values), values)
    return store_slice(postgres, SOURCE, select(["scores"]), {}, [messages], rules=rules)


def test_the_first_decision_of_a_transaction_is_kept(postgres: PostgresSettings) -> None:
    """Whether the second one comes in the same slice, where it would have been an alert, or in a later one."""
    outcome = store(
        postgres,
        decision(transaction_id="a", risk=0.1),
        decision(transaction_id="a", risk=0.9, flagged=True),
        decision(transaction_id="b"),
    )
    assert (outcome.stored, outcome.duplicates) == ({"scores": 2}, {"scores": 1})
    again = store(postgres, decision(transaction_id="b", risk=0.8), decision(transaction_id="c"), first=3)
    assert (again.stored, again.duplicates) == ({"scores": 1}, {"scores": 1})
    assert query(postgres, "select transaction_id, risk from shop.scores order by 1") == [
        ("a", 0.1), ("b", 0.25), ("c", 0.25),
    ]  # fmt: skip
    assert query(postgres, "select count(*) from shop.alerts") == [(0,)]


def test_answers_that_come_twice_are_no_error_in_the_log_of_postgres(
    embedded: Settings, postgres: PostgresSettings
) -> None:
    """They come at every hand-over: its operator would be woken by them, and the log would grow by megabytes a day."""
    log = Home.of(embedded).logs / "postgres.log"
    before = len(log.read_bytes())
    store(postgres, decision(transaction_id="a"), decision(transaction_id="a"))
    store(postgres, decision(transaction_id="a"), decision(transaction_id="b"), first=2)
    assert query(postgres, "select count(*) from shop.scores") == [(2,)]
    assert b"ERROR" not in log.read_bytes()[before:]


def test_a_flagged_decision_is_an_alert_with_reasons_rules_and_features(postgres: PostgresSettings) -> None:
    registry.register(postgres, *packed("m-1", TREES))
    rule = Rule("pace", "user_count_10m > 5", "{user_count_10m:.0f} payments in ten minutes", "high")
    value = decision(
        flagged=True, risk=0.9, amount=3204.0, currency="EUR", rules=["pace", "gone"], features=FEATURES
    )
    outcome = store(postgres, decision(transaction_id="quiet"), value, rules={"pace": rule})
    assert outcome.stored == {"scores": 2}
    columns = ("transaction_id", "user_id", "amount", *CONTEXT, "risk", "rules", "model_version", "features")
    (alert,) = query(postgres, f"select {', '.join(columns)} from shop.alerts")
    expected = DECISION | {"amount": 3204.0, "currency": "EUR", "risk": 0.9, "features": FEATURES}
    assert alert == tuple((expected | {"rules": ["pace", "gone"]})[name] for name in columns)
    ((reasons, scored_at, stored),) = query(
        postgres, "select reasons, scored_at, stored_at > now() - interval '1 hour' from shop.alerts"
    )
    assert reasons == [
        {"rule": "pace", "severity": "high", "sentence": "5 payments in ten minutes"},
        {"rule": "gone", "severity": None, "sentence": "rule gone matched"},
        {
            "feature": "amount_to_user_mean",
            "contribution": 2.0,
            "value": 41.0,
            "sentence": "amount 3,204.00 EUR is 41 times this customer's usual 78.15",
        },
        {
            "feature": "user_count_10m",
            "contribution": 0.5,
            "value": 5.2,
            "sentence": "6 payments of this customer in about the last 10 minutes",
        },
    ]
    assert (scored_at, stored) == (datetime(2025, 3, 1, 10, 30, 0, 262_000, UTC), True)


@pytest.mark.parametrize(
    ("learnt", "overall"),
    [({"rows": 1_000_000, "judged": 3_000, "frauds": 900}, "30 %"), ({"rows": 1000, "frauds": 5}, "0.5 %")],
    ids=["most were never judged", "a manifest of before"],
)
def test_the_fraud_of_a_merchant_is_compared_with_that_of_judged_payments(
    postgres: PostgresSettings, learnt: dict[str, int], overall: str
) -> None:
    """As its own share is of the judged ones, too."""
    trees = ensemble(("merchant_risk_7d", 0.1, -1.0, 3.0))
    registry.register(postgres, *packed("m-1", trees, training=learnt))
    store(postgres, decision(flagged=True, risk=0.9, merchant_id="m-17", features={"merchant_risk_7d": 0.59}))
    ((said,),) = query(postgres, "select reasons -> 0 ->> 'sentence' from shop.alerts")
    assert said.endswith(
        f"59 % of the labelled payments of about the last 7 days were fraud, against {overall} overall"
    )


def test_an_alert_whose_model_cannot_be_read_says_so_and_is_stored(postgres: PostgresSettings) -> None:
    """A version that nobody registered, an estimator without trees, an artifact that somebody altered."""
    registry.register(postgres, *packed("custom", None))
    registry.register(postgres, *packed("altered", TREES))
    with connect(postgres) as connection:
        connection.execute(
            "update shop.models set artifact = set_byte(artifact, 99, 0) where version = 'altered'"
        )
    versions = ("unknown", "custom", "altered")
    store(
        postgres,
        *(decision(transaction_id=v, model_version=v, flagged=True, risk=0.9) for v in versions),
    )
    said = dict(query(postgres, "select transaction_id, reasons -> 0 ->> 'sentence' from shop.alerts"))
    assert "There is no model 'unknown'" in said["unknown"]
    assert said["custom"] == "no reasons: model custom has no trees that could be read"
    assert "was altered" in said["altered"]
    registry.register(postgres, *packed("unknown", TREES))
    late = decision(transaction_id="late", model_version="unknown", flagged=True, risk=0.9, features=FEATURES)
    store(postgres, late, first=3)
    ((reason,),) = query(
        postgres, "select reasons -> 0 ->> 'feature' from shop.alerts where transaction_id = 'late'"
    )
    assert reason == "amount_to_user_mean"


def test_refusals_are_counted_and_what_is_no_decision_is_kept_byte_for_byte(
    postgres: PostgresSettings,
) -> None:
    outcome = store(postgres, b"poison", REFUSAL, decision(), None, first=7)
    assert (outcome.stored["scores"], outcome.refused, outcome.rejected) == (1, 1, 2)
    assert outcome.next_offsets == {"scores": 11}
    assert query(postgres, 'select topic, "offset", key, value from shop.rejected order by 2') == [
        ("topic", 7, b"u", b"poison"), ("topic", 10, b"u", None),
    ]  # fmt: skip


def test_risks_are_counted_in_the_bins_of_their_own_model(postgres: PostgresSettings) -> None:
    """A risk exactly on an edge lies below it, as in the reference; a model that nobody knows has no bins."""
    registry.register(postgres, *packed("m-1", TREES))
    risks = (0.0, 0.2, 0.20000001, 0.4, 0.6, 1.0, 0.9)
    values = [decision(transaction_id=f"t{n}", risk=risk) for n, risk in enumerate(risks)]
    later = decision(transaction_id="later", risk=0.1, scored_at="2025-03-01T11:00:00Z")
    store(postgres, *values, later, decision(transaction_id="x", model_version="unknown"))
    store(postgres, decision(transaction_id="t0"), decision(transaction_id="new", risk=0.5), first=9)
    found = query(
        postgres, "select model_version, extract(hour from hour)::int, bin, count from shop.risk_bins"
    )
    assert sorted(found) == [
        ("m-1", 10, 0, 2), ("m-1", 10, 1, 2), ("m-1", 10, 2, 2), ("m-1", 10, 3, 2), ("m-1", 11, 0, 1),
    ]  # fmt: skip
    drift = query(postgres, "select model_version, scores, psi > 0 from shop.score_drift")
    assert drift == [("m-1", 9, True)]


MESSAGES = {
    "quiet": lambda name: decision(transaction_id=name, **moment(name)),
    "alert": lambda name: decision(
        transaction_id=name, flagged=True, risk=0.9, features=FEATURES, **moment(name)
    ),
    "refusal": lambda _: REFUSAL,
    "bad": lambda name: f"bad {name}".encode(),
}


@hypothesis_settings(max_examples=40)
@given(topics("quiet", "quiet", "alert", "refusal", "bad"), st.lists(steps(("scores",)), max_size=6))
def test_any_history_of_tasks_keeps_the_first_decision_of_each_transaction(
    postgres: PostgresSettings, topic: Topic, history: list[Step]
) -> None:
    """Replays with other boundaries, tasks that die: scores, alerts, hours and bins are those of the first decisions."""
    tables = ("scores", "alerts", "rejected", "stream_offsets", "hourly", "risk_bins", "models")
    with connect(postgres) as connection:
        connection.execute(f"truncate {', '.join(f'shop.{table}' for table in tables)}")
    registry.register(postgres, *packed("m-1", TREES))
    outcomes = run_history(
        postgres, topic, [*history, Step(("scores",), 0, topic.end, 3, dies=False)], MESSAGES
    )
    first: dict[str, str] = {}
    for _, kind, name in topic.entries:
        if kind in ("quiet", "alert"):
            first.setdefault(name, kind)
    kinds = Counter(kind for _, kind, _ in topic.entries)
    processed = sum((outcome.stored + outcome.duplicates for outcome in outcomes), Counter[str]())
    assert processed["scores"] == kinds["quiet"] + kinds["alert"]
    assert sum(outcome.refused for outcome in outcomes) == kinds["refusal"]
    assert sum(outcome.rejected for outcome in outcomes) == kinds["bad"]
    assert dict(query(postgres, "select transaction_id, flagged from shop.scores")) == {
        name: kind == "alert" for name, kind in first.items()
    }
    alerts = query(postgres, "select transaction_id from shop.alerts order by 1")
    assert alerts == [(name,) for name, kind in sorted(first.items()) if kind == "alert"]
    assert hourly(postgres, "scores", "alerts") == counted_hours(postgres, scores="scores", alerts="alerts")
    assert query(postgres, "select coalesce(sum(count), 0)::int from shop.risk_bins") == [(len(first),)]
