"""An evaluation as one document, for `--json` and the manifest, with the same keys in every case."""

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

import numpy as np

from fraudstream.arrays import Floats, Integers, Truths
from fraudstream.features import definitions
from fraudstream.micros import DAY, moment
from fraudstream.model import evaluation, metrics
from fraudstream.model.coverage import Coverage
from fraudstream.model.dataset import Dataset
from fraudstream.model.evaluation import Judged
from fraudstream.model.figures import FIGURES
from fraudstream.model.folds import Fold, busy_days

BASELINES = ("amount", "random")
NO_FIGURES: dict[str, float | None] = dict.fromkeys(FIGURES)
"""The values of a report without an evaluation, which still has all keys."""
RECALLS = np.linspace(0.0, 1.0, 101)
TENTHS = 10
HABIT_DAYS = 30
"""The longest half-life of what is remembered."""
FEW = 5
"""Minimum of known frauds in a window; below it, figures depend on one or two of them."""


def document(
    data: Dataset, own_name: str, results: Mapping[str, Judged], tiers: Mapping[str, str]
) -> dict[str, Any]:
    """Figures of `own_name` next to the baselines, by fold and by kind of fraud; `tiers` is the tier of each method."""
    own = results.get(own_name)
    found = {
        tiers[name]: {"algorithm": name, **judged.figures, "average_precision_interval": judged.interval}
        for name, judged in results.items()
        if name not in BASELINES
    }
    return {
        "metrics": {
            **(own.figures if own else NO_FIGURES),
            "average_precision_interval": own.interval if own else None,
        },
        "baselines": {name: results[name].figures if name in results else NO_FIGURES for name in BASELINES},
        "tiers": found,
        "folds": _folds(data, own, results) if own else [],
        "scenarios": evaluation.by_scenario(data, own.scored) if own else {},
        "curves": _curves(data, results),
        **_calibration(data, own),
    }


def gaps(
    micros: Integers, since: int | None = None, so: str = "windows consist of the other days"
) -> list[str]:
    """A note if quiet days are left out (from `since` on, or in the whole history), and what that means."""
    first, last = int(micros[0]) if since is None else since, int(micros[-1])
    days, busy = 1 + last // DAY - first // DAY, int((busy_days(micros) >= first // DAY * DAY).sum())
    if busy == days:
        return []
    quiet = f"{days - busy:,} had almost no transactions: {so}."
    return [f"Of the {days:,} days from {evaluation.day(first)} to {evaluation.day(last)}, {quiet}"]


def without_habits(began: int, since: int, features: Sequence[str], start: str, so: str) -> list[str]:
    """A note if the history from `began` to `since`, called `start`, is too short for these features, and what that means."""
    days = round(max(since - began, 0) / DAY, 1)
    if days >= HABIT_DAYS or not any(feature.reads for feature in definitions.select(features)):
        return []
    said = (
        f"The transactions begin {days:.1f} days before {start}, where all customers' habits begin empty, so {so}:"
        f" include the history before them, {HABIT_DAYS} days or more."
    )
    return [said]


def thin(data: Dataset, folds: Sequence[Fold], name: str) -> list[str]:
    """Notes on windows with too few known frauds to judge by, or with only frauds labelled."""
    windows = [data.window(fold.test_from, fold.test_until) for fold in folds]
    frauds = [int(data.fraud[window].sum()) for window in windows]
    judged = [int(data.judged[window].sum()) for window in windows]
    few = sum(count < FEW for count in frauds)
    only = sum(0 < count == known for count, known in zip(frauds, judged, strict=True))
    said = []
    if few:
        said.append(
            f"{few} of {len(folds)} {name} windows have fewer than {FEW} known frauds: their figures are mostly chance."
        )
    if only:
        said.append(
            f"Only frauds are labelled in {only} of {len(folds)} {name} windows: precision is undefined."
        )
    return said


def one_sided(data: Dataset, folds: Sequence[Fold]) -> list[str]:
    """A note if the labels in the windows hardly cover ordinary payments."""
    rows = np.concatenate([data.window(fold.test_from, fold.test_until) for fold in folds])
    covered = Coverage.of(rows, data.judged, data.fraud)
    if not covered.one_sided or not covered.legitimate or not covered.frauds:
        return []
    share = (covered.frauds + covered.legitimate) / len(rows)
    said = (
        f"Labels cover {share:.1%} of the transactions in the windows ({covered.frauds:,} fraudulent,"
        f" {covered.legitimate:,} legitimate), and precision and recall are computed from these only. If they come from chargebacks"
        " and reviewed alerts, they include hardly any ordinary payments: expect far worse on all traffic, especially"
        " from a model that learned from such labels."
    )
    return [said]


def tied(risk: Floats, threshold: float, alert_rate: float, alerts_per_day: float | None = None) -> list[str]:
    """A note if more of the rows that set the threshold share the highest risk than may be flagged.

    `alerts_per_day` is the same budget if it was given in this way.
    """
    allowed = metrics.allowed(alert_rate, len(risk))
    if not allowed or (risk >= threshold).any():
        return []
    most = int((risk == risk.max()).sum())
    if most == len(risk):
        return [
            f"All {most:,} transactions that set the threshold have the same risk: this model flags nothing."
        ]
    # More than the exact share, as a rounded product could fall one row short.
    enough = (floor(1e4 * most / len(risk)) + 1) / 1e4
    budget = f"--alert-rate to {enough:g}"
    if alerts_per_day is not None:
        budget = f"--alerts-per-day to {ceil(enough / alert_rate * alerts_per_day)}"
    said = (
        f"{most:,} of the {len(risk):,} transactions that set the threshold share the highest risk, and the budget allows"
        f" {allowed:,}: this model flags nothing. Raise {budget} or more, or add features that tell them apart."
    )
    return [said]


def _calibration(data: Dataset, own: Judged | None) -> dict[str, list[dict[str, float | int]]]:
    """`_tenths` of the labelled rows, and of those at or above the threshold of their window.

    Both are empty if the labels hardly cover ordinary payments: that most of the others were fraud says nothing about the risk.
    """
    nothing: dict[str, list[dict[str, float | int]]] = {"calibration": [], "calibration_flagged": []}
    if own is None:
        return nothing
    rows = np.concatenate([window.rows for window in own.scored])
    if Coverage.of(rows, data.judged, data.fraud).one_sided:
        return nothing
    known = [window.known(data) for window in own.scored]
    risk = np.concatenate([part.risk for part in known])
    fraud = np.concatenate([part.fraud for part in known])
    flagged = np.concatenate([
        part.risk >= (np.inf if window.threshold is None else window.threshold)
        for window, part in zip(own.scored, known, strict=True)
    ])  # fmt: skip
    return {
        "calibration": _tenths(risk, fraud),
        "calibration_flagged": _tenths(risk[flagged], fraud[flagged]),
    }


def _tenths(risk: Floats, fraud: Truths) -> list[dict[str, float | int]]:
    """For each tenth of the range of risk: the mean risk of its rows, and the share that was fraud."""
    tenth = np.minimum((risk * TENTHS).astype(np.int64), TENTHS - 1)
    return [
        {
            "risk": round(float(risk[inside].mean()), 6),
            "fraud": round(float(fraud[inside].mean()), 6),
            "transactions": int(inside.sum()),
        }
        for inside in (tenth == i for i in range(TENTHS))
        if inside.any()
    ]


def _folds(data: Dataset, own: Judged, results: Mapping[str, Judged]) -> list[dict[str, Any]]:
    folds = []
    for i, (window, figures) in enumerate(zip(own.scored, own.folds, strict=True)):
        known = window.known(data)
        folds.append(
            {
                "train_until": iso(window.fold.train_until),
                "test_from": iso(window.fold.test_from),
                "test_until": iso(window.fold.test_until),
                "transactions": len(window.rows),
                "judged": len(known.rows),
                "frauds": int(known.fraud.sum()),
                **figures,
                "baselines": {name: results[name].folds[i] for name in BASELINES},
            }
        )
    return folds


def _curves(data: Dataset, results: Mapping[str, Judged]) -> dict[str, list[float]]:
    """Precision at 101 recalls, mean over the windows: the best precision at that recall or a higher one."""
    found = {}
    for name, judged in results.items():
        each = []
        for window in judged.scored:
            _, risk, fraud = window.known(data)
            if not fraud.any() or fraud.all():
                continue
            recall, precision = metrics.Ranking.of(risk, fraud).curve(np.ones(len(fraud)))
            best = np.maximum.accumulate(precision[::-1])[::-1]
            each.append(best[np.minimum(np.searchsorted(recall, RECALLS - 1e-12), len(best) - 1)])
        if each:
            found[name] = [round(float(value), 4) for value in np.mean(each, axis=0)]
    return found


def iso(micros: int) -> str:
    """A timestamp as ISO 8601, in UTC."""
    return moment(micros).isoformat(timespec="seconds")
