"""Estimators of users' own that fail: each is named, with what it did and the next step, and is no bug in fraudstream."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fraudstream.errors import InputError
from fraudstream.features.events import INSTANT
from fraudstream.model.algorithms import IsolationForestEstimator
from fraudstream.model.training import Request, train

ESTIMATORS = """
import numpy as np


class Sound:
    uses_labels = False
    made = 0

    def __init__(self):
        type(self).made += 1

    def fit(self, x, y):
        pass

    def risk(self, x):
        return np.full(len(x), 0.5)


class Unfit(Sound):
    def fit(self, x, y):
        return {}["colour"]


class Mute(Sound):
    def risk(self, x):
        raise RuntimeError("no weights")


class Wide(Sound):
    def risk(self, x):
        return np.full((len(x), 2), 0.5)


class Undefined(Sound):
    def risk(self, x):
        return np.full(len(x), np.nan)


class Wordy(Sound):
    def risk(self, x):
        return ["high"] * len(x)


class Once(Sound):
    def __init__(self):
        super().__init__()
        if self.made > 1:
            raise OSError("the GPU is taken")
"""

FAILURES = {
    "Unfit": "The estimator unfit could not be trained: KeyError: 'colour'",
    "Mute": "The estimator mute could not give risks: RuntimeError: no weights",
    "Wide": "The estimator wide returned invalid risks: an array of shape (",
    "Undefined": "The estimator undefined returned invalid risks: nan for a row",
    "Wordy": "The estimator wordy could not give risks: ValueError: could not convert string to float",
    "Once": "The estimator once could not be trained: OSError: the GPU is taken",
}


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution with an entry point for each, as pip leaves it on the path."""
    information = tmp_path / "estimators_that_fail-1.0.dist-info"
    information.mkdir()
    (tmp_path / "estimators_that_fail.py").write_text(ESTIMATORS)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: estimators-that-fail\nVersion: 1.0\n")
    entries = (f"{name.lower()} = estimators_that_fail:{name}\n" for name in FAILURES)
    (information / "entry_points.txt").write_text(f"[fraudstream.estimators]\n{''.join(entries)}")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("estimators_that_fail", None)


def rows() -> pa.Table:
    """Twenty days of two customers, some of it fraud."""
    hours = np.arange(20 * 24, dtype=np.int64)
    return pa.table(
        {
            "transaction_id": [f"t{hour}" for hour in hours],
            "user_id": [f"u{hour % 2}" for hour in hours],
            "timestamp": pa.array(1_700_000_000_000_000 + hours * 3_600_000_000).cast(INSTANT),
            "amount": 5.0 + hours % 7,
            "is_fraud": hours % 10 == 0,
        }
    )


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(("name", "sentence"), FAILURES.items(), ids=FAILURES)
def test_an_estimator_that_fails_is_named_with_the_next_step(name: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        train(rows(), Request(name.lower(), ("amount", "hour"), label_delay_days=1, alert_rate=0.05))
    assert sentence in caught.value.message
    assert "then train" in caught.value.hint
    assert "`fraudstream --debug …`" in caught.value.hint


def test_too_little_memory_for_our_own_is_not_blamed_on_an_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    """It said: fix the method `fit` of the estimator isolation_forest."""

    def fit(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(IsolationForestEstimator, "fit", fit)
    with pytest.raises(MemoryError):
        train(rows(), Request("isolation_forest", ("amount", "hour"), label_delay_days=1, alert_rate=0.05))
