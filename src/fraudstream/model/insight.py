"""Explains a model in figures for charts: importance of features, dependence of the risk on them, and its distribution.

The first two are found by changing one feature and observing the risk, so they work the same way for trees and for a
user's own estimator. They are computed once, when the model is trained.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fraudstream.arrays import Floats

FLAGGED, USUAL = 64, 128
"""Number of transactions to vary. A mean of 64 changes has a standard error of an eighth of their spread."""
SWAPS = 4
"""Number of usual values that each flagged transaction gets in turn."""
SHOWN = 12
"""Number of features whose dependence is kept, the most important ones."""
QUANTILES = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
"""Quantiles of the values at which dependence is computed: closer together in the upper tail, where fraud is."""
REFERENCE_BINS = 20
"""Bins of the score reference: each has about 5 % of the risks of the calibration rows."""


def insight(
    risk: Callable[[Floats], Floats], x: Floats, threshold: float, names: Sequence[str]
) -> dict[str, Any]:
    """Importance and dependence, from rows `x` (n, features) that the model has not learned from.

    - `importance`, largest first: by how much the risk of a flagged transaction changes (mean absolute change)
      when this feature alone takes the value of a usual transaction. If none is flagged, the riskiest ones are used.
    - `dependence` of the most important features: the mean risk when all of a sample take the same value (partial
      dependence, Friedman 2001), for `usual` transactions and for `flagged` ones.
    """
    rng = np.random.default_rng(0)
    own = risk(x)
    riskiest = np.argsort(-own, kind="stable")[: max(1, int((own >= threshold).sum()))]
    flagged = x[rng.permutation(riskiest)[:FLAGGED]]
    usual = x[rng.choice(len(x), min(USUAL, len(x)), replace=False)]
    importance = _importance(risk, flagged, usual, rng)
    order = sorted(range(len(names)), key=lambda j: -importance[j])
    return {
        "importance": {names[j]: _short(importance[j]) for j in order},
        "dependence": {
            names[j]: _dependence(risk, j, np.unique(np.quantile(x[:, j], QUANTILES)), usual, flagged)
            for j in order[:SHOWN]
            if importance[j] > 0
        },
    }


def _importance(
    risk: Callable[[Floats], Floats], flagged: Floats, usual: Floats, rng: np.random.Generator
) -> Floats:
    rows, features = flagged.shape
    before, every = risk(flagged), np.arange(features)
    changes = np.zeros(features)
    for _ in range(SWAPS):
        given = usual[rng.integers(0, len(usual), rows)]
        # All features in one call: an estimator's fixed cost per call exceeds that of the rows.
        changed = np.repeat(flagged[None], features, axis=0)
        changed[every, :, every] = given.T
        risks = risk(changed.reshape(-1, features)).reshape(features, rows)
        changes += np.abs(risks - before).mean(axis=1)
    return changes / SWAPS


def _dependence(
    risk: Callable[[Floats], Floats], j: int, values: Floats, usual: Floats, flagged: Floats
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"value": [_short(value) for value in values]}
    for name, rows in (("usual", usual), ("flagged", flagged)):
        asked = np.repeat(rows[None], len(values), axis=0)
        asked[:, :, j] = values[:, None]
        risks = risk(asked.reshape(-1, rows.shape[1])).reshape(len(values), len(rows))
        found[name] = [_short(mean) for mean in risks.mean(axis=1)]
    return found


def _short(value: float) -> float:
    """Round to six digits: enough for a chart, in a third of the space."""
    return float(f"{value:.6g}")


def reference(risk: Floats) -> dict[str, Any]:
    """The distribution of risks: edges between REFERENCE_BINS bins (fewer if many risks are equal), and each bin's share.

    An edge is in the middle between two risks, like the threshold: numpy and the JVM add up trees in a different
    order, and if an edge equalled a risk, the last bit would decide, for most rows of an isolation forest at once.
    """
    distinct = np.unique(np.round(risk, 9))
    quantiles = np.quantile(risk, np.linspace(0, 1, REFERENCE_BINS + 1)[1:-1])
    above = np.unique(np.searchsorted(distinct, np.round(quantiles, 9), side="right"))
    above = above[above < len(distinct)]
    edges = (distinct[above - 1] + distinct[above]) / 2
    counts = np.bincount(np.searchsorted(edges, risk, side="left"), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "shares": (counts / len(risk)).tolist(), "rows": len(risk)}
