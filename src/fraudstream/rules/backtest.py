"""Counts what rules would have caught among stored transactions, by their labels as known now."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fraudstream.arrays import Truths
from fraudstream.model.coverage import Coverage
from fraudstream.rules.rule import Rule


@dataclass(frozen=True)
class Window:
    """Transactions of some days, one entry per transaction, in order of time."""

    days: float
    fraud: Truths
    """Known to be fraud."""
    judged: Truths
    """Whether it is known to be fraud or legitimate."""
    flagged: Truths | None
    """Flagged by the model at its threshold; None without a model."""

    @cached_property
    def coverage(self) -> Coverage:
        """How many are labelled. If hardly any legitimate ones are, nearly every labelled alert is fraud, whatever the rule."""
        return Coverage.of(np.arange(len(self.fraud)), self.judged, self.fraud)


def figures(hits: Truths, window: Window) -> dict[str, Any]:
    """The figures of these alerts, and what they add to the model's.

    `precision` is the share of fraud among the labelled alerts, `recall` the share of the known fraud that they
    find; None if the denominator is zero, and precision also if the labels hardly cover ordinary payments. `new_alerts`
    and `new_frauds` are those that the model does not flag; None without a model.
    """
    alerts, judged, frauds = (int(np.count_nonzero(hits & of)) for of in (hits, window.judged, window.fraud))
    known = int(np.count_nonzero(window.fraud))
    fresh = None if window.flagged is None else hits & ~window.flagged
    return {
        "alerts": alerts,
        "alerts_per_day": alerts / window.days,
        "judged": judged,
        "frauds": frauds,
        "precision": frauds / judged if judged and not window.coverage.one_sided else None,
        "recall": frauds / known if known else None,
        "new_alerts": None if fresh is None else int(np.count_nonzero(fresh)),
        "new_frauds": None if fresh is None else int(np.count_nonzero(fresh & window.fraud)),
    }


def report(rules: Sequence[Rule], hits: Truths, window: Window) -> dict[str, Any]:
    """The figures of each rule, of all together, and of the model; `hits` has a row for each rule."""
    return {
        "days": window.days,
        "transactions": len(window.fraud),
        "judged": int(np.count_nonzero(window.judged)),
        "frauds": int(np.count_nonzero(window.fraud)),
        "rules": [
            {"name": rule.name, "severity": rule.severity, **figures(held, window)}
            for rule, held in zip(rules, hits, strict=True)
        ],
        "together": figures(np.logical_or.reduce(hits), window),
        "model": None if window.flagged is None else _of_model(window.flagged, window),
    }


def _of_model(flagged: Truths, window: Window) -> dict[str, Any]:
    """The model's own figures, without what it would add to itself."""
    found = figures(flagged, window)
    return {name: value for name, value in found.items() if not name.startswith("new_")}
