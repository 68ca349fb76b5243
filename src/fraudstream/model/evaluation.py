"""Evaluates out of sample: trains on earlier rows, tests on later ones, next to two baselines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fraudstream.arrays import Floats, Integers, Truths
from fraudstream.errors import FraudstreamError, InputError
from fraudstream.logs import get_logger
from fraudstream.micros import DAY, moment
from fraudstream.model import metrics
from fraudstream.model.algorithms import Estimator
from fraudstream.model.candidates import BUILT_IN, Candidate
from fraudstream.model.dataset import Dataset
from fraudstream.model.folds import Fold
from fraudstream.model.risk import REPAIR, checked_risk

log = get_logger("model.evaluation")

KNOWN_DAYS = 7
"""Victims of frauds since this many days before the window's label delay are excluded from card precision, as in the
Fraud Detection Handbook (its training week): their cards are blocked. Older victims have new cards."""


class Known(NamedTuple):
    """The rows of a window whose truth is known."""

    rows: Integers
    risk: Floats
    fraud: Truths


@dataclass(frozen=True)
class Scored:
    """The rows of one test window, with their risk by one scoring method."""

    fold: Fold
    rows: Integers
    risk: Floats
    threshold: float | None
    """None if there are no rows before the window to set it by."""

    def known(self, data: Dataset) -> Known:
        """Its rows whose truth is known: figures are computed from these."""
        judged = data.judged[self.rows]
        rows = self.rows[judged]
        return Known(rows, self.risk[judged], data.fraud[rows])


@dataclass(frozen=True)
class Judged:
    """One scoring method on all windows: mean figures, figures of each window, and the scored rows."""

    figures: dict[str, float | None]
    folds: tuple[dict[str, float | None], ...]
    scored: tuple[Scored, ...]
    interval: tuple[float, float] | None = None


def learnable(data: Dataset, until: int, as_of: int) -> Truths:
    """Which rows before `until` had a truth known at `as_of`, from which labelled models can learn."""
    return (data.micros < until) & data.judged & (data.known_at <= as_of)


def fit(candidate: Candidate, data: Dataset, until: int, as_of: int) -> Estimator:
    """A new estimator, trained on rows before `until` whose truth was known at `as_of` (all rows if label-free).

    Raises InputError if there is too little to learn from, or if the estimator cannot.
    """
    rows = learnable(data, until, as_of) if candidate.uses_labels else data.micros < until
    if candidate.uses_labels:
        frauds = int((rows & data.fraud).sum())
        if not frauds or frauds == rows.sum():
            raise InputError(
                f"{candidate.algorithm} learns from labels, and before {day(until)} there is "
                f"{'no known fraud' if not frauds else 'nothing but fraud'}.",
                hint="Choose --algorithm isolation_forest, or give labels (is_fraud) from further back.",
            )
    if rows.sum() < 2:  # noqa: PLR2004 - one row is no sample
        raise InputError(
            f"There are no transactions before {day(until)} to learn from.", hint="Give a longer history."
        )
    y = (data.fraud[rows] if candidate.uses_labels else np.zeros(rows.sum())).astype(np.int64)
    try:
        estimator = candidate.make()
        estimator.fit(data.columns(candidate.features, rows), y)
    except FraudstreamError:
        raise
    except Exception as error:  # a user's own code may raise anything
        own = candidate.algorithm not in BUILT_IN
        if not own and not isinstance(error, (ValueError, TypeError, ArithmeticError)):
            raise  # a bug, or too little memory
        raise InputError(
            f"The estimator {candidate.name} could not be trained: {type(error).__name__}: {error}",
            hint=REPAIR if own else "",
        ) from error
    return estimator


def score_folds(
    candidate: Candidate, data: Dataset, folds: Sequence[Fold], alert_rate: float
) -> list[Scored]:
    """For each fold, train before it, set the threshold in its gap, and score its window."""
    scored, name = [], f"The estimator {candidate.name}"
    for fold in folds:
        estimator = fit(candidate, data, fold.train_until, fold.test_from)

        def risk(rows: Integers, estimator: Estimator = estimator) -> Floats:
            return checked_risk(estimator, data.columns(candidate.features, rows), name)

        scored.append(_window(data, fold, risk, alert_rate))
        log.debug("%s on %s: done", candidate.name, day(fold.test_from))
    return scored


def score_values(values: Floats, data: Dataset, folds: Sequence[Fold], alert_rate: float) -> list[Scored]:
    """The same for existing risks of the rows: a scorer's, or a baseline's."""
    return [_window(data, fold, lambda rows: values[rows], alert_rate) for fold in folds]


def score_baseline(name: str, data: Dataset, folds: Sequence[Fold], alert_rate: float) -> list[Scored]:
    """The same for `random` and for `amount` alone."""
    values = data.amount if name == "amount" else np.random.default_rng(0).random(len(data))
    return score_values(values, data, folds, alert_rate)


def _window(data: Dataset, fold: Fold, risk: Callable[[Integers], Floats], alert_rate: float) -> Scored:
    gap = np.flatnonzero((data.micros >= fold.train_until) & (data.micros < fold.test_from))
    rows = data.window(fold.test_from, fold.test_until)
    threshold = metrics.threshold_for(risk(gap), alert_rate) if len(gap) else None
    return Scored(fold, rows, risk(rows) if len(rows) else np.empty(0), threshold)


def judge(data: Dataset, scored: Sequence[Scored], *, with_interval: bool = False) -> Judged:
    """The figures of each window and their means, over rows whose truth is known."""
    folds = tuple(_figures(data, window) for window in scored)
    means = {name: _mean([figures[name] for figures in folds]) for name in (folds[0] if folds else {})}
    spread = None
    if with_interval:
        known = [window.known(data) for window in scored]
        parts = [(risk, fraud, data.customer[rows]) for rows, risk, fraud in known if len(rows)]
        spread = metrics.interval(parts, data.customers)
    return Judged(means, folds, tuple(scored), spread)


def _figures(data: Dataset, window: Scored) -> dict[str, float | None]:
    rows, risk, fraud = window.known(data)
    unblocked = ~blocked(data, window.fold, rows)
    threshold = window.threshold
    return {
        "average_precision": metrics.average_precision(risk, fraud),
        "roc_auc": metrics.roc_auc(risk, fraud),
        "card_precision_100": metrics.card_precision(
            risk[unblocked],
            fraud[unblocked],
            data.micros[rows][unblocked] // DAY,
            data.customer[rows][unblocked],
        ),
        "recall_at_budget": metrics.recall_at(risk, fraud, threshold) if threshold is not None else None,
        "alert_rate": (
            float((window.risk >= threshold).mean()) if len(window.risk) and threshold is not None else None
        ),
    }


def blocked(data: Dataset, fold: Fold, rows: Integers) -> Truths:
    """Whether a row's customer was a known victim when the row's day began."""
    # Not from `train_until`: an existing model may have learned until long before the last of many windows.
    since = fold.test_from - int((data.delay_days + KNOWN_DAYS) * DAY)
    recent = data.fraud & (data.micros >= since)
    first_known = np.full(data.customers, np.iinfo(np.int64).max)
    np.minimum.at(first_known, data.customer[recent], data.known_at[recent])
    known: Truths = first_known[data.customer[rows]] <= data.micros[rows] // DAY * DAY
    return known


def by_scenario(data: Dataset, scored: Sequence[Scored]) -> dict[str, dict[str, float | int]]:
    """For each kind of fraud in the data: the number of frauds, and the share at or above the threshold."""
    found: dict[str, list[bool]] = {}
    for window in scored:
        for name, risk in zip(data.scenario[window.rows], window.risk, strict=True):
            if name is not None and window.threshold is not None:
                found.setdefault(str(name), []).append(bool(risk >= window.threshold))
    return {
        name: {"frauds": len(flags), "recall_at_budget": float(np.mean(flags))}
        for name, flags in sorted(found.items())
    }


def validate(
    candidates: Sequence[Candidate], data: Dataset, folds: Sequence[Fold], alert_rate: float
) -> dict[str, float | None]:
    """Mean average precision of each candidate on the validation folds; None if it is undefined."""
    found: dict[str, float | None] = {}
    for candidate in candidates:
        scored = score_folds(candidate, data, folds, alert_rate)
        found[candidate.name] = reached = judge(data, scored).figures["average_precision"]
        said = "average precision undefined" if reached is None else f"average precision {reached:.3f}"
        log.info("%s: %s on validation folds", candidate.name, said)
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    said = [value for value in values if value is not None]
    return float(np.mean(said)) if said else None


def day(micros: int) -> str:
    """The date of a timestamp, in UTC."""
    return moment(micros).strftime("%Y-%m-%d")
