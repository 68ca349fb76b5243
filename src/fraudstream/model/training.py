"""From transactions to a model with an out-of-sample report: select, evaluate, refit, set the threshold."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version as installed
from typing import Any

import numpy as np
import pyarrow as pa

from fraudstream.errors import FraudstreamError, InputError
from fraudstream.features.definitions import available
from fraudstream.logs import get_logger
from fraudstream.micros import DAY, micros
from fraudstream.model import algorithms, artifact, candidates, evaluation, metrics, reporting
from fraudstream.model.algorithms import Estimator, TreeEstimator
from fraudstream.model.artifact import Model
from fraudstream.model.candidates import Candidate
from fraudstream.model.choice import choose
from fraudstream.model.curve import draw
from fraudstream.model.dataset import Dataset, check_variety, currencies, dataset, until_now
from fraudstream.model.evaluation import Judged
from fraudstream.model.folds import Plan, began_at, busy_days, days_between, end_of, learn_until, plan
from fraudstream.model.insight import insight, reference
from fraudstream.model.manifest import FORMAT
from fraudstream.model.risk import checked_risk
from fraudstream.model.versus import versus

log = get_logger("model.training")

LIBRARIES = ("fraudstream", "scikit-learn", "numpy", "joblib", "pyarrow")


@dataclass(frozen=True)
class Request:
    """What to train."""

    algorithm: str = "auto"
    features: tuple[str, ...] | None = None
    """Names of features; None means those that the algorithm uses and the data allow."""
    label_delay_days: float = field(kw_only=True)
    """No default, as it must be the one that live profiles use."""
    alert_rate: float = 0.005
    """Share of transactions that may be flagged."""
    alerts_per_day: float | None = None
    """The same as a number per day; overrides the rate."""
    parameters: dict[str, Any] | None = None
    """Hyperparameters of a named algorithm; with None the validation windows decide."""


@dataclass(frozen=True)
class Trained:
    """A model that is not stored yet: its files by name and its report."""

    files: dict[str, bytes]
    report: dict[str, Any]


def train(
    rows: pa.Table,
    request: Request,
    source: dict[str, Any] | None = None,
    now: datetime | None = None,
    champion: Model | None = None,
) -> Trained:
    """Train on transactions, and evaluate that way of training on later rows.

    `source` says in the manifest where the rows came from. Hyperparameters and algorithm are chosen on validation
    windows, the figures come from later test windows, and the model itself then learns from
    everything whose labels are known `now`, even if the last transaction is long ago. With a `champion`, both are
    compared on what neither has learned from (`versus`).
    Raises InputError if that is impossible.
    """
    created = now or datetime.now(UTC)
    algorithms.be_patient()
    data, notes = _prepared(rows, request)
    as_of = max(end_of(data.micros), micros(created))
    if request.alerts_per_day is not None:
        request = replace(request, alert_rate=_rate(data, request.alerts_per_day))
    folds = plan(data.micros, request.label_delay_days, request.alert_rate)
    notes += _doubts(data, folds, request.label_delay_days)
    chosen, validation, folds = choose(data, folds, request, notes)
    results = _judged(data, folds, chosen, request)
    estimator, threshold, found, until = _final(chosen, data, request, as_of, notes)
    tiers = {name: _tier(chosen) if name == chosen.algorithm else "label_free" for name in results}
    report = reporting.document(data, chosen.algorithm, results, tiers)
    manifest = {
        "format": FORMAT,
        "version": created.strftime("%Y%m%d-%H%M%S-%f")[:-3],
        "created_at": created.isoformat(timespec="seconds"),
        "algorithm": chosen.algorithm,
        "parameters": chosen.parameters,
        "tier": _tier(chosen),
        "features": list(chosen.features),
        "threshold": threshold,
        "alert_rate": request.alert_rate,
        "label_delay_days": request.label_delay_days,
        "training": _window(data, until, as_of) | {"source": source or {}},
        "versions": {"python": platform.python_version(), **{name: installed(name) for name in LIBRARIES}},
        **found,
        **report,
        "champion": _against(champion, data, results.get(chosen.algorithm), notes),
        "validation": validation,
        "notes": notes,
    }
    lines = report["curves"]
    curve = draw(lines, f"{chosen.algorithm}, {len(folds.test)} test windows") if lines else None
    ensemble = estimator.ensemble() if isinstance(estimator, TreeEstimator) else None
    return Trained(artifact.files_of(manifest, estimator, ensemble, curve), manifest)


def _prepared(rows: pa.Table, request: Request) -> tuple[Dataset, list[str]]:
    """The data with the requested features, without constant ones; and notes."""
    rows, notes = until_now(rows)
    data = dataset(rows, request.label_delay_days, _names(rows, request))
    check_variety(data)
    notes += reporting.gaps(data.micros) + currencies(rows)
    unjudged = int((~data.judged).sum())
    if data.judged.any() and unjudged:
        notes.append(
            f"{unjudged} of {len(data)} transactions have no label and are not included in the figures."
        )
    constant = [n for j, n in enumerate(data.names) if (data.values[:, j] == data.values[0, j]).all()]
    if constant and request.features is None:
        notes.append(f"Features with only one value were left out: {', '.join(constant)}.")
        kept = [j for j, n in enumerate(data.names) if n not in constant]
        data = replace(data, names=tuple(data.names[j] for j in kept), values=data.values[:, kept])
    return data, notes


def _names(rows: pa.Table, request: Request) -> Sequence[str] | None:
    """The features to compute; None means all that the transactions allow. Raises InputError if named ones lack fields."""
    names, label_free = request.features, request.algorithm == "isolation_forest"
    if not rows.num_rows or (names is None and not label_free):
        return names
    there = available(rows)
    if names is None:
        # The label-free forest uses few features; computing the others would only take time.
        return candidates.candidates("isolation_forest", there)[0].features
    missing = [name for name in names if name not in there]
    if missing:
        if label_free:  # features that it can never use are reported first
            candidates.candidates("isolation_forest", names, chosen=True)
        raise InputError(
            f"The transactions lack fields that {', '.join(missing)} need{'s' if len(missing) == 1 else ''}.",
            hint="Leave these features out, or name the columns with --map.",
        )
    return names


def _doubts(data: Dataset, folds: Plan, delay_days: float) -> list[str]:
    """Notes on why the model cannot be evaluated, or on what weakens its figures."""
    if not folds.possible:
        days = days_between(data.micros, *data.span)
        return [
            f"The history of {days:.1f} days is too short to evaluate the model with a {delay_days:g}-day label delay."
        ]
    if not data.judged.any():
        return ["No transaction is labelled: detection cannot be evaluated."]
    if not data.fraud.any():
        return ["No transaction is fraud: detection cannot be evaluated."]
    return [
        *reporting.thin(data, folds.validation, "validation"),
        *reporting.thin(data, folds.test, "test"),
        *reporting.one_sided(data, folds.test),
    ]


def _judged(data: Dataset, folds: Plan, chosen: Candidate, request: Request) -> dict[str, Judged]:
    """The results on the test windows: the chosen candidate, the label-free one if that is labelled, and the baselines."""
    if not folds.possible or not data.fraud.any():
        return {}
    judged = {chosen.algorithm: chosen}
    if chosen.uses_labels:
        free = candidates.candidates("isolation_forest", data.names)[0]
        if free.features:
            judged[free.algorithm] = free
    results = {}
    for name, candidate in judged.items():
        log.info(
            "Evaluating %s on later payments (%d-day windows: %d).",
            candidate.name, folds.window_days, len(folds.test),
        )  # fmt: skip
        scored = evaluation.score_folds(candidate, data, folds.test, request.alert_rate)
        results[name] = evaluation.judge(data, scored, with_interval=True)
    for name in reporting.BASELINES:
        scored = evaluation.score_baseline(name, data, folds.test, request.alert_rate)
        results[name] = evaluation.judge(data, scored)
    return results


def _final(
    chosen: Candidate, data: Dataset, request: Request, as_of: int, notes: list[str]
) -> tuple[Estimator, float, dict[str, Any], int]:
    """The model itself, its threshold, its score reference and insight, and the time until which it learned.

    It learns until the label delay before the end, from the labels known at `as_of`; the rows since then, which
    it has not seen, set the threshold.
    """
    end = end_of(data.micros)
    assumed = end - int(request.label_delay_days * DAY)
    until = learn_until(data.micros, end, request.label_delay_days, request.alert_rate)
    if (data.micros < until).mean() < 0.5:  # noqa: PLR2004 - more rows to learn from than to calibrate on
        until = int(data.micros[int(len(data) * 0.8)])
        notes.append(
            "The history is short: the model learned from its first 80 %, and the rest set the threshold."
        )
    elif until < assumed:
        notes.append(
            f"The last {request.label_delay_days:g} days have too few transactions for one alert at a rate of"
            f" {request.alert_rate:.2%}: the last {int((data.micros >= until).sum()):,} set the threshold."
        )
    estimator = evaluation.fit(chosen, data, until, as_of)
    late = data.micros >= until
    seen = data.columns(chosen.features, late)
    name = f"The estimator {chosen.name}"
    risk = checked_risk(estimator, seen, name)
    threshold = metrics.threshold_for(risk, request.alert_rate)
    notes += reporting.tied(risk, threshold, request.alert_rate, request.alerts_per_day)
    looks_at = insight(lambda rows: checked_risk(estimator, rows, name), seen, threshold, chosen.features)
    return estimator, threshold, {"score_reference": reference(risk), **looks_at}, until


def _against(
    champion: Model | None, data: Dataset, own: Judged | None, notes: list[str]
) -> dict[str, Any] | None:
    """The comparison with the champion. None if there is none; if it cannot be used, a note says why.

    By then the new model is trained, and exists nowhere else.
    """
    if champion is None or own is None:
        return None
    try:
        return versus(champion, data, own.scored, notes)
    except FraudstreamError as error:
        notes.append(f"The champion {champion.version} was not compared: {error.message}")
        return None


def _rate(data: Dataset, alerts_per_day: float) -> float:
    """Alerts per day as a share of the transactions, by the rate of the last week without its quiet days."""
    last = end_of(data.micros) - 1
    since = last - 7 * DAY
    recent = int(((data.micros > since) & (data.micros <= last)).sum())
    days = days_between(data.micros, max(since, int(data.micros[0])), last)
    return min(1.0, alerts_per_day * max(days, 1 / 24) / recent)


def _tier(candidate: Candidate) -> str:
    return "labelled" if candidate.uses_labels else "label_free"


def _window(data: Dataset, until: int, as_of: int) -> dict[str, Any]:
    rows, judged = data.micros < until, evaluation.learnable(data, until, as_of)
    return {
        "from": reporting.iso(began_at(data.micros, busy_days(data.micros))),
        "until": reporting.iso(until),
        "rows": int(rows.sum()),
        "judged": int(judged.sum()),
        "frauds": int((judged & data.fraud).sum()),
        "customers": len(np.unique(data.customer[rows])),
    }
