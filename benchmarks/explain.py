"""Milliseconds for the reasons of 100 alerts: path attribution of a 100-tree forest, and with the sentences.

Beside it shap's TreeExplainer on the same trees, where it is installed (the dev extra has it).

    python benchmarks/explain.py [--alerts N] [--rounds N] [--json]

Needs no services.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fraudstream.features.definitions import FEATURES
from fraudstream.model.algorithms import TreeEstimator, candidates
from fraudstream.model.explain import contributions
from fraudstream.model.reasons import Explainer
from fraudstream.model.trees import Ensemble

TREES = 100


def forest(rows: int = 50_000) -> tuple[Ensemble, Any]:
    """A forest of every feature, as `train` grows it, on noise in which three features matter; and rows."""
    rng = np.random.default_rng(1)
    x = rng.gamma(2.0, 1.0, (rows, len(FEATURES)))
    y = (x[:, 0] + x[:, 7] + x[:, 20] > np.quantile(x[:, 0] + x[:, 7] + x[:, 20], 0.99)).astype(np.int64)
    (candidate, *_) = candidates("random_forest", tuple(FEATURES))
    estimator: Any = candidate.make()
    estimator.n_estimators = TREES
    estimator.fit(x, y)
    assert isinstance(estimator, TreeEstimator)
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
            "features": dict(zip(FEATURES, row, strict=True)),
            **context,
        }
        for row in x.tolist()
    ]


def milliseconds(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """Median and 99th percentile of a call."""
    work()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return {"p50": round(statistics.median(taken), 2), "p99": round(float(np.quantile(taken, 0.99)), 2)}


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--alerts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    options = parser.parse_args()
    ensemble, rows = forest()
    x = rows[: options.alerts]
    asked, explainer = decisions(x), Explainer("bench", ensemble, 0.5, 0.005)
    ways: dict[str, Callable[[], object] | None] = {
        "attribution": lambda: contributions(ensemble, x),
        "reasons with sentences": lambda: explainer.reasons(asked, {}),
        "shap": shap_of(ensemble, x),
    }
    document = {
        "benchmark": "explain",
        "alerts": len(x),
        "trees": ensemble.trees,
        "nodes": len(ensemble.nodes),
        "milliseconds": {name: milliseconds(way, options.rounds) for name, way in ways.items() if way},
        "cores": os.cpu_count(),
        "load_1_min": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }
    if options.json:
        print(json.dumps(document, indent=2))
        return
    print(f"{document['alerts']} alerts, {document['trees']} trees, {document['nodes']:,} nodes")
    for name, taken in document["milliseconds"].items():  # type: ignore[attr-defined]
        print(f"{name:<24} p50 {taken['p50']:>8} ms   p99 {taken['p99']:>8} ms")
    print(json.dumps({key: document[key] for key in ("cores", "load_1_min", "versions")}))


if __name__ == "__main__":
    main()
