"""Milliseconds of CPU for the reasons of 100 alerts: path attribution of a 100-tree forest, and with the sentences.

Beside it shap's TreeExplainer on the same trees, where it is installed (the dev extra has it).

    python benchmarks/explain.py [--alerts N] [--rounds N] [--quick] [--json]

Needs no services.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from measure import alone, beside, in_turns, options, report

from fraudstream.features.definitions import DEFAULTS
from fraudstream.model.algorithms import TreeEstimator
from fraudstream.model.candidates import candidates
from fraudstream.model.trees import Ensemble
from fraudstream.reasons.contributions import contributions
from fraudstream.reasons.explainer import Explainer

TREES = 100


def grown(rows: int = 50_000) -> tuple[Any, Any]:
    """A forest of every feature, as `train` grows it, on noise in which three features matter; and rows."""
    rng = np.random.default_rng(1)
    x = rng.gamma(2.0, 1.0, (rows, len(DEFAULTS)))
    y = (x[:, 0] + x[:, 7] + x[:, 20] > np.quantile(x[:, 0] + x[:, 7] + x[:, 20], 0.99)).astype(np.int64)
    (candidate, *_) = candidates("random_forest", DEFAULTS)
    estimator: Any = candidate.make()
    estimator.n_estimators = TREES
    estimator.fit(x, y)
    assert isinstance(estimator, TreeEstimator)
    return estimator, x


def forest() -> tuple[Ensemble, Any]:
    """The trees of `grown`, and its rows."""
    estimator, x = grown()
    return estimator.ensemble(), x


def decisions(x: Any) -> list[dict[str, Any]]:
    """Flagged decisions with these features."""
    context = {
        "device": "android-12", "location": "Paris", "transaction_location": "Lagos",
        "merchant_id": "m-17", "currency": "EUR",
    }  # fmt: skip
    return [
        {
            "amount": 3204.0,
            "risk": 1.0,
            "rules": [],
            "features": dict(zip(DEFAULTS, row, strict=True)),
            **context,
        }
        for row in x.tolist()
    ]


def milliseconds(work: Callable[[], object]) -> float:
    """Of CPU that one call takes: it waits for nothing, and the clock would also count the neighbours."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def shap_of(ensemble: Ensemble, x: Any) -> Callable[[], object] | None:
    """Shapley values of the same rows, or None where shap is not installed."""
    try:
        import shap
    except ImportError:
        return None
    tables = [
        {
            "children_left": tree["left"].to_numpy(),
            "children_right": tree["right"].to_numpy(),
            "children_default": tree["left"].to_numpy(),
            "features": tree["feature"].to_numpy(),
            "thresholds": tree["threshold"].to_numpy(),
            "values": tree["value"].to_numpy()[:, None] / ensemble.trees,
            "node_sample_weight": tree["count"].to_numpy(dtype=float),
        }
        for _, tree in ensemble.nodes.to_pandas().groupby("tree")
    ]
    explainer = shap.TreeExplainer({"trees": tables}, feature_perturbation="tree_path_dependent")
    return lambda: explainer.shap_values(x, check_additivity=False)


def main() -> None:
    chosen = options(__doc__, alerts=100, rounds=30)
    ensemble, rows = forest()
    x = rows[: chosen.alerts]
    asked, explainer = decisions(x), Explainer("bench", ensemble, 0.5, 0.005)
    ways: dict[str, Callable[[], object]] = {
        "attribution": lambda: contributions(ensemble, x),
        "reasons": lambda: explainer.reasons(asked, {}),
    }
    if shapley := shap_of(ensemble, x):
        ways["shap"] = shapley
    for way in ways.values():
        way()
    taken = in_turns({name: partial(milliseconds, way) for name, way in ways.items()}, chosen.rounds)
    what = f"attribution of {len(x)} alerts"
    report(
        "explain",
        [
            beside(what, taken["attribution"], "ms", "shap", taken["shap"], less_is_better=True)
            if "shap" in taken
            else alone(what, float(np.median(taken["attribution"])), "ms"),
            alone("with sentences", float(np.median(taken["reasons"])), "ms", at_most=20),
        ],
        chosen,
        trees=ensemble.trees,
        nodes=len(ensemble.nodes),
    )


if __name__ == "__main__":
    main()
