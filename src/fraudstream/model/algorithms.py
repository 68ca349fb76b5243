"""The estimators: what each one learns from, its settings, and how it is converted to trees.

An estimator has `fit(x, y)` and `risk(x)`; `x` is (rows, features) of doubles, `y` (rows,) of 0 and 1, `risk` in
[0, 1], higher is worse. Those that are trees also give `ensemble()`. Others come from a user's own package
through the entry point group `fraudstream.estimators` and score in micro-batches.
"""

import os
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from fraudstream.arrays import Floats, Integers
from fraudstream.model.extract import Side, from_gradient_boosting, from_isolation_forest, from_random_forest
from fraudstream.model.trees import Ensemble, checked

MOST_LEGITIMATE = 300_000
"""Labelled algorithms learn from this many legitimate rows, weighted to represent all, and from every fraud.
Time then no longer grows with history; docs/model.md has the cost in average precision."""


def be_patient() -> None:
    """Let OpenMP's threads sleep while they wait for each other; must be called before scikit-learn loads OpenMP.

    They spin by default. With Kafka and Spark on the same cores that makes gradient boosting four times as slow
    (60,000 rows, load 8 on two cores: 6.2 s instead of 1.6 s).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@runtime_checkable
class Estimator(Protocol):
    """An object that trains and scores. The attribute `uses_labels = False` says that `fit` ignores `y`."""

    def fit(self, x: Floats, y: Integers) -> Any:
        """Learn from rows (n, features) and their truth (n,); label-free estimators get zeros."""

    def risk(self, x: Floats) -> Floats:
        """Risk (n,) in [0, 1] of rows (n, features)."""


@runtime_checkable
class TreeEstimator(Estimator, Protocol):
    """An estimator whose trees score in the stream."""

    def ensemble(self) -> Ensemble:
        """The exact trees."""


# -- isolation forest -----------------------------------------------------------------------------------------

HIGH_IS_WORSE = ("amount", "amount_to_user_mean")
"""The core of the label-free tier: the amount, absolute and relative to this customer's."""
CORE_QUANTILE = 0.9
"""Quantile below which the core features do not differ. An isolation forest treats every rare value as an anomaly; a very
small payment is rare but harmless, so only the upper tail may isolate."""
BURSTS: dict[str, float] = {"user_count_10m": 1.5, "user_count_1h": 3.0}
"""Rates that are suspicious by themselves, in decayed counts before this payment: about the third payment within minutes,
the fifth within the hour. Below it rates do not differ. A fixed number rather than a quantile: if nobody pays that
often, the feature has no effect, instead of flagging coincidences."""
BURST_QUANTILE = 0.99
"""But never below this quantile: if customers usually pay that often (tolls, games), it is not suspicious."""
HABITS = ("user_device_share", "user_location_share")
HABIT_QUANTILE = 0.005
"""Quantile of habits that counts, 1 in 200: a device or place that a customer with a long history has never used."""
EXTREMES = ("user_burst_1d", "user_spent_1d", "merchant_burst_1h")
EXTREME_QUANTILE = 0.9999
"""Quantile for features whose extremes are mostly harmless: at 1 in 2,000 they used more of the alert budget than they were worth."""
LABEL_FREE = (*HIGH_IS_WORSE, *BURSTS, *HABITS, *EXTREMES)
"""The features of the label-free tier, of which it uses those that the data allow."""


@dataclass
class IsolationForestEstimator:
    """Isolation forest on the suspicious sides of a few features; ignores `y`.

    `sides` is learned in `fit`: quantiles of the training rows. Larger samples than the 256 of Liu, Ting and
    Zhou (2008) distinguish degrees of anomaly in a tail of a few rows in a thousand.
    """

    features: tuple[str, ...]
    n_estimators: int = 100
    max_samples: int = 4096
    one_sided: bool = True
    contamination: float | str = "auto"
    random_state: int = 42
    uses_labels: bool = field(default=False, init=False)
    sides: tuple[Side, ...] = field(default=(), init=False)
    model: Any = field(default=None, init=False, repr=False)

    def fit(self, x: Floats, y: Integers) -> Self:  # noqa: ARG002 - the protocol's
        """Learn what is usual in `x`."""
        from sklearn.ensemble import IsolationForest

        x = checked(x, self.features)
        if self.one_sided:
            self.sides = tuple(_side(name, x[:, j]) for j, name in enumerate(self.features))
        self.model = IsolationForest(
            n_estimators=self.n_estimators,
            max_samples=min(self.max_samples, len(x)),
            contamination=self.contamination,
            random_state=self.random_state,
        ).fit(self._seen(x))
        return self

    def risk(self, x: Floats) -> Floats:
        """The anomaly score of scikit-learn, 2^(-mean path / c)."""
        risk: Floats = -self.model.score_samples(self._seen(checked(x, self.features)))
        return risk

    def ensemble(self) -> Ensemble:
        """The exact trees, over the features as they are."""
        return from_isolation_forest(self.model, self.features, self.sides or None)

    def _seen(self, x: Floats) -> Floats:
        return np.column_stack([side(x[:, j]) for j, side in enumerate(self.sides)]) if self.sides else x


def _side(name: str, values: Floats) -> Side:
    """The suspicious side of a feature, from training values."""
    if name in HIGH_IS_WORSE:
        return Side(float(np.quantile(values, CORE_QUANTILE)))
    if name in BURSTS:
        return Side(max(BURSTS[name], float(np.quantile(values, BURST_QUANTILE))))
    if name in HABITS:
        return Side(float(np.quantile(values, HABIT_QUANTILE)), falls=True)
    if name in EXTREMES:
        return Side(float(np.quantile(values, EXTREME_QUANTILE)))
    return Side(-np.inf)  # chosen by the user: its suspicious side is unknown


# -- labelled algorithms --------------------------------------------------------------------------------------


def thinned(y: Integers, most: int = MOST_LEGITIMATE) -> tuple[Integers, Floats]:
    """Rows to learn from and their weights: every fraud, and at most `most` of the others, weighted to represent all."""
    fraud, other = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    weight = 1.0
    if len(other) > most:
        weight = len(other) / most
        other = np.random.default_rng(0).choice(other, most, replace=False)
    rows = np.sort(np.concatenate([fraud, other]))
    return rows, np.where(y[rows] == 1, 1.0, weight)


def _told(weights: Floats) -> Floats | None:
    """The weights, or None if they are all equal.

    scikit-learn 1.9 sorts each feature for its weighted quantiles, which took nine tenths of a fit (9 of 10 s for
    250,000 rows of 47 features).
    """
    return None if (weights == weights[0]).all() else weights


class _Classifier:
    """What the labelled algorithms have in common."""

    features: tuple[str, ...]
    model: Any

    def risk(self, x: Floats) -> Floats:
        """The probability of fraud."""
        risk: Floats = self.model.predict_proba(checked(x, self.features))[:, 1]
        return risk


@dataclass
class GradientBoostingEstimator(_Classifier):
    """HistGradientBoosting, strongly regularised: with frauds this rare the defaults overfit single rows."""

    features: tuple[str, ...]
    max_iter: int = 500
    learning_rate: float = 0.05
    max_leaf_nodes: int = 8
    l2_regularization: float = 5.0
    min_samples_leaf: int = 50
    most_legitimate: int = MOST_LEGITIMATE
    random_state: int = 42
    uses_labels: bool = field(default=True, init=False)
    model: Any = field(default=None, init=False, repr=False)
    frauds: Floats | None = field(default=None, init=False, repr=False)
    """Those learned from, if legitimate rows weigh more: the trees tell how many rows passed through, but not which."""
    weight: float = field(default=1.0, init=False, repr=False)
    """Of each legitimate row that was learned from."""

    def fit(self, x: Floats, y: Integers) -> Self:
        """Learn from rows and their truth."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        x = checked(x, self.features)
        rows, weights = thinned(y, self.most_legitimate)
        self.weight = float(weights.max())
        self.frauds = x[y == 1] if self.weight > 1 else None
        self.model = HistGradientBoostingClassifier(
            max_iter=self.max_iter,
            learning_rate=self.learning_rate,
            max_leaf_nodes=self.max_leaf_nodes,
            l2_regularization=self.l2_regularization,
            min_samples_leaf=self.min_samples_leaf,
            early_stopping=False,  # its hold-out would be random
            random_state=self.random_state,
        ).fit(x[rows], y[rows], sample_weight=_told(weights))
        return self

    def ensemble(self) -> Ensemble:
        """The exact trees."""
        return from_gradient_boosting(self.model, self.features, self.frauds, self.weight)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the frauds, as transactions are in no file of a model."""
        return {**self.__dict__, "frauds": None}


@dataclass
class RandomForestEstimator(_Classifier):
    """Random forest of shallow trees with large leaves."""

    features: tuple[str, ...]
    n_estimators: int = 60
    max_depth: int = 12
    min_samples_leaf: int = 10
    max_features: float = 0.3
    most_legitimate: int = 20_000
    """Number of legitimate rows, weighted to represent all. Deep trees over unbinned values cost far more per row than
    boosting's small ones: 100 trees of depth 16 over 40,000 rows took 60 s of CPU, and `auto` fits eight forests."""
    random_state: int = 42
    uses_labels: bool = field(default=True, init=False)
    model: Any = field(default=None, init=False, repr=False)

    def fit(self, x: Floats, y: Integers) -> Self:
        """Learn from rows and their truth."""
        from sklearn.ensemble import RandomForestClassifier

        x = checked(x, self.features)
        rows, weights = thinned(y, self.most_legitimate)
        self.model = RandomForestClassifier(
            self.n_estimators,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            max_features=self.max_features,
            n_jobs=-1,
            random_state=self.random_state,
        ).fit(x[rows], y[rows], sample_weight=weights)
        return self

    def ensemble(self) -> Ensemble:
        """The exact trees."""
        return from_random_forest(self.model, self.features)
