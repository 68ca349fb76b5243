"""Which candidate becomes the model: by the labels that are known, and by the validation windows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fraudstream.errors import InputError
from fraudstream.features.definitions import FEATURES
from fraudstream.model import candidates, evaluation
from fraudstream.model.candidates import BUILT_IN, Candidate
from fraudstream.model.coverage import Coverage
from fraudstream.model.dataset import Dataset
from fraudstream.model.folds import Plan

if TYPE_CHECKING:
    from fraudstream.model.training import Request

FEW_FRAUDS = 50
"""With fewer known frauds before the first validation window, labelled algorithms overfit."""


def choose(
    data: Dataset, folds: Plan, request: "Request", notes: list[str]
) -> tuple[Candidate, dict[str, float | None]]:
    """The candidate to use, and the result of each one on the validation windows; remarks are added to `notes`.

    Raises InputError if there is none.
    """
    if request.algorithm != "auto":
        found = _candidates(request.algorithm, data, request)
    else:
        names = _without_label_free(_teachable(data, folds, notes), request, notes)
        found = tuple(c for name in names for c in _candidates(name, data, request))
    if len(found) == 1 or not folds.possible or not data.fraud.any():
        return found[0], {}
    reached = evaluation.validate(found, data, folds.validation, request.alert_rate)
    said = {name: precision for name, precision in reached.items() if precision is not None}
    if not said:
        notes.append(
            f"No candidate could be evaluated: the validation windows do not have both known fraud and known legitimate"
            f" transactions. {found[0].name} was chosen without validation."
        )
        return found[0], reached
    return max(found, key=lambda c: said.get(c.name, -1.0)), reached


def _candidates(algorithm: str, data: Dataset, request: "Request") -> tuple[Candidate, ...]:
    found = candidates.candidates(
        algorithm, data.names, chosen=request.features is not None, parameters=request.parameters
    )
    if not found[0].features:
        raise InputError(
            f"{algorithm} can use none of the features of these transactions.",
            hint="Name features with --features, or map more columns with --map.",
        )
    return found


def _teachable(data: Dataset, folds: Plan, notes: list[str]) -> Sequence[str]:
    """The algorithms that `auto` tries: labelled ones only if enough labels are known at the first window.

    Labels count if they are known when the window begins, as for the model that is evaluated there: chargebacks that are
    recorded months later do not help before.
    """
    first = folds.validation[0] if folds.possible else None
    known = (
        evaluation.learnable(data, first.train_until, first.test_from) if first else np.zeros(len(data), bool)
    )
    frauds = int((known & data.fraud).sum())
    where = "before the first validation window" if first else "in a history long enough to evaluate on"
    if frauds < FEW_FRAUDS:
        notes.append(
            f"auto chose isolation_forest: {frauds} known frauds {where} are fewer than {FEW_FRAUDS},"
            " too few to learn from."
        )
        return BUILT_IN[:1]
    if frauds == known.sum():
        notes.append(
            f"auto chose isolation_forest: {where} only frauds are labelled, from which nothing can be learned."
        )
        return BUILT_IN[:1]
    covered = Coverage.of(np.arange(len(data)), known, data.fraud)
    if covered.one_sided:
        notes.append(
            f"auto chose isolation_forest: {where} only {covered.legitimate:,} of {covered.transactions:,} transactions"
            f" are known to be legitimate, beside {frauds:,} frauds. Labels from chargebacks and reviewed alerts alone"
            " do not show what ordinary payments look like."
        )
        return BUILT_IN[:1]
    return BUILT_IN


def _without_label_free(names: Sequence[str], request: "Request", notes: list[str]) -> Sequence[str]:
    """The same without the label-free forest if it cannot use the chosen features, and others can."""
    labelled = [name for name in request.features or () if FEATURES[name].uses_labels]
    others = [name for name in names if name != "isolation_forest"]
    if not labelled or not others:
        return names
    notes.append(
        f"auto left out isolation_forest, which cannot use {', '.join(labelled)}, as these are computed from labels."
    )
    return others
