"""What an evaluation promises: nothing that was not known at the time helps a model, its threshold or its figures."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_world import world
from fraudstream.features.events import INSTANT
from fraudstream.micros import DAY
from fraudstream.model import artifact
from fraudstream.model.candidates import candidates
from fraudstream.model.dataset import Dataset, dataset
from fraudstream.model.evaluation import judge, score_folds, score_values
from fraudstream.model.finished import evaluate_model
from fraudstream.model.folds import Fold
from fraudstream.model.training import Request, train

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS, A_DAY, CUSTOMERS = 40, 200, 50


def days_in(days: float) -> int:
    """This many days after the first midnight, in microseconds."""
    return int((START + timedelta(days=days)).timestamp()) * 1_000_000


FOLD = Fold(days_in(20), days_in(27), days_in(34))


def payments(labelled_after: float = 1.0) -> pa.Table:
    """One payment in seven minutes; amounts of 300 and more are fraud, and known `labelled_after` days later."""
    rows = DAYS * A_DAY
    amount = np.random.default_rng(0).uniform(1, 310, rows)
    at = [START + timedelta(days=n / A_DAY) for n in range(rows)]
    fraud = amount > 300
    return pa.table({
        "user_id": [f"u{n % CUSTOMERS}" for n in range(rows)],
        "timestamp": pa.array(at, INSTANT),
        "amount": amount,
        "is_fraud": fraud,
        "labelled_at": pa.array(
            [when + timedelta(days=labelled_after if bad and n % 2 else 1.0) for n, (when, bad) in enumerate(zip(at, fraud, strict=True))],
            INSTANT,
        ),
    })  # fmt: skip


def test_a_label_that_arrives_after_a_window_began_does_not_help_its_model() -> None:
    """Every second fraud becomes known half a year later: for the window that is as if nobody had said anything."""
    (candidate,) = candidates("gradient_boosting", ("amount",), parameters={"max_iter": 5})

    def risks(data: Dataset) -> list[float]:
        (window,) = score_folds(candidate, data, [FOLD], 0.01)
        return list(window.risk)

    late = dataset(payments(180.0), 7, ("amount",))
    untold = late.known_at > FOLD.test_from
    assert (late.fraud & untold & (late.micros < FOLD.train_until)).any()
    silent = replace(late, fraud=late.fraud & ~untold, judged=late.judged & ~untold)
    assert risks(late) == risks(silent)
    assert risks(late) != risks(dataset(payments(), 7, ("amount",)))


def test_the_risks_inside_a_window_have_no_say_in_its_threshold() -> None:
    """The model that scores it live has only the rows before it to set one by."""
    data = dataset(payments(), 7, ("amount",))
    inside = (data.micros >= FOLD.test_from) & (data.micros < FOLD.test_until)
    values = np.random.default_rng(1).random(len(data))
    (before,) = score_values(values, data, [FOLD], 0.01)
    (after,) = score_values(np.where(inside, values * 10, values), data, [FOLD], 0.01)
    assert before.threshold is not None
    assert before.threshold == after.threshold
    (other,) = score_values(np.where(inside, values, values * 10), data, [FOLD], 0.01)
    assert other.threshold != before.threshold


def test_who_is_a_known_victim_does_not_count_in_card_precision() -> None:
    """The card is blocked: that it is found again on the day after is no merit of a model."""
    data = dataset(payments(), 7, ("amount",))
    inside = (data.micros >= FOLD.test_from) & (data.micros < FOLD.test_until)
    stolen = inside & (data.customer == 3)
    earlier = np.flatnonzero((data.micros < FOLD.test_from) & (data.customer == 3))[-1]
    found = []
    for known_at in (FOLD.test_from - DAY, FOLD.test_until):
        known = np.full(len(data), FOLD.test_until)
        known[earlier] = known_at
        fraud = stolen.copy()
        fraud[earlier] = True
        victim = replace(data, fraud=fraud, known_at=known)
        scored = score_values(stolen.astype(float), victim, [FOLD], 0.01)
        found.append(judge(victim, scored).figures["card_precision_100"])
    assert found == [None, pytest.approx(1 / 7 / 100)]


def test_a_trained_model_is_evaluated_only_after_the_label_delay() -> None:
    """Until then it would be compared on days of which it may know the truth."""
    rows, delay = world(6_000, days=60).drop_columns("labelled_at"), timedelta(days=5)
    early = rows.filter(pc.less(rows["timestamp"], pa.scalar(START + timedelta(days=30), INSTANT)))
    request = Request("isolation_forest", ("amount",), label_delay_days=delay.days)
    model = artifact.verified(train(early, request).files, "memory")
    report = evaluate_model(model, rows)
    learned = datetime.fromisoformat(model.manifest["training"]["until"])
    since = [datetime.fromisoformat(fold["test_from"]) for fold in report["folds"]]
    assert learned + delay <= since[0] <= learned + delay + timedelta(days=1)
