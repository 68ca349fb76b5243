"""The same evaluation for a trained model, or a file of scores."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from fraudstream.errors import InputError
from fraudstream.micros import DAY, micros
from fraudstream.model import evaluation, reporting
from fraudstream.model.artifact import Model
from fraudstream.model.columns import RISK
from fraudstream.model.dataset import Dataset, currencies, dataset, until_now
from fraudstream.model.folds import Fold, began_at, busy_days, end_of, plan, weeks


class _About(NamedTuple):
    """What was evaluated: the head of its report."""

    version: str | None
    algorithm: str
    tier: str
    features: list[str]
    threshold: float | None


def evaluate_model(model: Model, rows: pa.Table) -> dict[str, Any]:
    """Evaluate a model on transactions that are later than its training data, by at least the label delay.

    `rows` should reach back further: history before the windows feeds the features. Raises InputError if
    no row is late enough, or if the model's features need columns that are missing.
    """
    delay = model.label_delay_days
    rows, notes = until_now(rows)
    data = dataset(rows, delay, model.features)
    learnt = micros(model.learned_until)
    folds = [Fold(learnt, start, end) for start, end in weeks(data.micros, learnt + int(delay * DAY))]
    if not folds:
        raise InputError(
            f"Model {model.version} learned until {reporting.iso(learnt)}; with a {delay:g}-day label delay"
            f" no whole day of these transactions, which end {reporting.iso(end_of(data.micros))}, is left to evaluate it on.",
            hint="Give later transactions: on rows that it has seen, a model looks better than it is.",
        )
    notes += currencies(rows) + _without_habits(model, data, folds[0].test_from)
    judged = np.flatnonzero(data.micros >= folds[0].test_from)
    risk = np.zeros(len(data))
    risk[judged] = model.risk(data.columns(model.features, judged))
    scored = [
        evaluation.Scored(fold, here, risk[here], model.threshold)
        for fold in folds
        for here in [data.window(fold.test_from, fold.test_until)]
    ]
    tier = str(model.manifest.get("tier", "labelled"))
    about = _About(model.version, model.algorithm, tier, list(model.features), model.threshold)
    return _report(about, data, scored, model.alert_rate, notes)


def evaluate_scores(rows: pa.Table, delay_days: float, alert_rate: float) -> dict[str, Any]:
    """Evaluate the column `risk` of scored transactions; the threshold of each window is set in the gap before it.

    Raises InputError if the file is too short for a window after the label delay.
    """
    rows, notes = until_now(rows)
    ordered = rows.sort_by("timestamp")
    data = dataset(ordered, delay_days, ("amount",))
    folds = plan(data.micros, delay_days, alert_rate).test
    if not folds:
        raise InputError(
            "The scores cover too few days to be evaluated with this label delay.",
            hint="Give more days, or a shorter --label-delay-days.",
        )
    values = ordered[RISK].to_numpy()
    scored = evaluation.score_values(values, data, folds, alert_rate)
    about = _About(None, "scores", "unknown", [], scored[-1].threshold)
    return _report(about, data, scored, alert_rate, notes)


def _report(
    about: _About,
    data: Dataset,
    scored: Sequence[evaluation.Scored],
    alert_rate: float,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The report of scored windows, next to the baselines; `notes` come first."""
    results = {about.algorithm: evaluation.judge(data, scored, with_interval=True)}
    folds = [window.fold for window in scored]
    for baseline in reporting.BASELINES:
        results[baseline] = evaluation.judge(
            data, evaluation.score_baseline(baseline, data, folds, alert_rate)
        )
    report = reporting.document(data, about.algorithm, results, {about.algorithm: about.tier})
    said = [*notes, *reporting.gaps(data.micros), *_without_history(results)]
    if not data.judged.any():
        said.append("No transaction is labelled: detection cannot be evaluated.")
    elif not any(fold["frauds"] for fold in report["folds"]):
        said.append("No transaction in the windows is known to be fraud: detection cannot be evaluated.")
    else:
        said += reporting.thin(data, folds, "test") + reporting.one_sided(data, folds)
    return {**about._asdict(), **report, "validation": {}, "notes": said}


def _without_habits(model: Model, data: Dataset, test_from: int) -> list[str]:
    """A note if the file lacks the history that the model's features need when the first window begins."""
    # If the file begins with the model's training, customers had no more history when the model learned, either.
    began = began_at(data.micros, busy_days(data.micros))
    if reporting.iso(began) <= model.manifest["training"].get("from", ""):
        return []
    return reporting.without_habits(
        began, test_from, model.features, "the first window", "the model looks worse than it is"
    )


def _without_history(results: Mapping[str, evaluation.Judged]) -> list[str]:
    """A note if a file begins with its windows, so that no threshold could be set before them."""
    windows = results[reporting.BASELINES[0]].scored
    bare = sum(window.threshold is None for window in windows)
    if not bare:
        return []
    where = f"There are no transactions before {bare} of {len(windows)} windows to set a threshold by"
    return [f"{where}: recall and alerts of the baselines need history before the windows."]
