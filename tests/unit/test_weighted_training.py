"""Labelled algorithms learn from a part of the legitimate rows, weighted to represent all, and explain by all of them."""

import pickle

import numpy as np
import pytest

from fraudstream.model.algorithms import GradientBoostingEstimator, RandomForestEstimator
from model_world import sample

NAMES = ("amount", "share", "flag", "a", "b", "c")


@pytest.mark.parametrize(
    "estimator",
    [
        GradientBoostingEstimator(NAMES, max_iter=20, most_legitimate=1_000),
        RandomForestEstimator(NAMES, n_estimators=200, most_legitimate=1_000),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_base_of_reasons_is_the_average_payment_whatever_part_was_learned_from(
    estimator: GradientBoostingEstimator | RandomForestEstimator,
) -> None:
    """By the number of rows that were learned from, frauds counted eight times as often as they happen."""
    x, y = sample(10_000)
    ensemble = estimator.fit(x, y).ensemble()
    values = ensemble.values(x)
    assert ensemble.base == pytest.approx(values.mean(), abs=0.03 * np.ptp(values))


def test_the_rows_that_were_learned_from_are_not_stored_with_the_estimator() -> None:
    estimator = GradientBoostingEstimator(NAMES, max_iter=2, most_legitimate=1_000).fit(*sample(10_000))
    assert len(pickle.dumps(estimator)) < 1_000 * len(NAMES) * 8
    again = pickle.loads(pickle.dumps(estimator))  # noqa: S301 - our own
    x, _ = sample(100)
    assert np.array_equal(again.ensemble().risk(x), estimator.ensemble().risk(x))
