"""Which candidate becomes the model: by the labels that are known, and by the validation windows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fraudstream.arrays import Truths
from fraudstream.errors import InputError
from fraudstream.features.definitions import FEATURES
from fraudstream.model import candidates, evaluation
from fraudstream.model.candidates import BUILT_IN, Candidate
from fraudstream.model.coverage import Coverage
from fraudstream.model.dataset import Dataset
from fraudstream.model.folds import Fold, Plan

if TYPE_CHECKING:
    from fraudstream.model.training import Request

GIVE_TIMES = (
    "Give labelled_at, when each label became known; labels imported without it became known with the import."
)
FEW_FRAUDS = 50
"""With fewer known frauds before the first validation window, labelled algorithms overfit."""


def choose(
    data: Dataset, folds: Plan, request: "Request", notes: list[str]
) -> tuple[Candidate, dict[str, float | None], Plan]:
    """The candidate to use, the result of each one on the validation windows, and the folds that it can be evaluated on.

    Remarks are added to `notes`. Raises InputError if there is none.
    """
    if request.algorithm != "auto":
        found = _candidates(request.algorithm, data, request)
        folds = _evaluable(found[0], data, folds, notes)
    else:
        names = _without_label_free(_teachable(data, folds, notes), request, notes)
        found = tuple(c for name in names for c in _candidates(name, data, request))
    if len(found) == 1 or not folds.possible or not data.fraud.any():
        return found[0], {}, folds
    reached = evaluation.validate(found, data, folds.validation, request.alert_rate)
    said = {name: precision for name, precision in reached.items() if precision is not None}
    if not said:
        notes.append(
            f"No candidate could be evaluated: the validation windows do not have both known fraud and known legitimate"
            f" transactions. {found[0].name} was chosen without validation."
        )
        return found[0], reached, folds
    return max(found, key=lambda c: said.get(c.name, -1.0)), reached, folds


def _evaluable(chosen: Candidate, data: Dataset, folds: Plan, notes: list[str]) -> Plan:
    """`folds`; or none, and why in `notes`, if a labelled algorithm has labels that came too late for one of them.

    As after an import that does not say when each label became known: the model itself can learn from them all.
    """
    windows = (*folds.validation, *folds.test) if chosen.uses_labels else ()
    late = next(filter(None, (_late(data, fold) for fold in windows)), None)
    if late is None:
        return folds
    notes.append(
        f"The {late}, when a window to evaluate on had begun: the model could not be evaluated. {GIVE_TIMES}"
    )
    return Plan((), (), 0)


def _late(data: Dataset, fold: Fold) -> str | None:
    """What labelled algorithms lack before this window, only because its labels came too late; None if they lack nothing."""
    known = evaluation.learnable(data, fold.train_until, fold.test_from)
    said = data.judged & (data.micros < fold.train_until)
    for name, kind in (("frauds", data.fraud), ("legitimate transactions", ~data.fraud)):
        later = said & kind & ~known
        if later.any() and not (known & kind).any():
            before = evaluation.day(fold.train_until)
            return f"{int(later.sum()):,} {name} before {before} are labelled, but {_since(data, later)}"
    return None


def _since(data: Dataset, rows: Truths) -> str:
    return f"became known from {evaluation.day(int(data.known_at[rows].min()))} on"


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
        few = f"{frauds} known frauds {where} are fewer than {FEW_FRAUDS}, too few to learn from."
        later = data.fraud & ~known & (data.micros < first.train_until) if first else known
        if later.any():
            few += f" {int(later.sum()):,} more are labelled, but {_since(data, later)}. {GIVE_TIMES}"
        notes.append(f"auto chose isolation_forest: {few}")
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
