"""Detection on transactions that fraudstream's own simulator did not make (see handbook.py), several seeds.

Prints, as means of four weekly test windows with a label delay of 7 days: average precision of the raw amount, of
the label-free isolation forest and of gradient boosting, and card precision at 100 a day. The `unblocked` columns leave
out customers already known as victims, as the Fraud Detection Handbook does before it computes anything.
Settings are those of `fraudstream train`; nothing is chosen here.

Usage: detection.py [SEED ...]     (default 11 12 13; 1.8 million transactions each, about 3 minutes on two cores)
"""

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `fraudstream train` has it

import handbook
import numpy as np

from fraudstream.model import algorithms, evaluation, folds, tables
from fraudstream.model.dataset import Dataset, dataset

if TYPE_CHECKING:
    from fraudstream.model.evaluation import Judged, Scored

DELAY_DAYS, ALERT_RATE = 7.0, 0.005
GOALS = {
    "isolation_forest": "average precision > 0.23",
    "gradient_boosting": "average precision > 0.69, card precision@100 > 0.305",
}


def unblocked(data: Dataset, scored: "list[Scored]") -> "Judged":
    """The same judgement without the customers that are known as victims already."""
    kept = []
    for window in scored:
        free = ~evaluation.blocked(data, window.fold, window.rows)
        kept.append(replace(window, rows=window.rows[free], risk=window.risk[free]))
    return evaluation.judge(data, kept)


def measure(seed: int) -> dict[str, tuple[float, float, float]]:
    """Average precision, the same unblocked, and card precision of each way of scoring."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "handbook.parquet"
        handbook.generate(seed=seed).to_parquet(path, index=False)
        data = dataset(tables.read_transactions(path).rows, DELAY_DAYS)
    windows = folds.plan(int(data.micros[0]), int(data.micros[-1]), DELAY_DAYS).test
    scored = {"amount": evaluation.score_baseline("amount", data, windows, ALERT_RATE)}
    for name in GOALS:
        candidate = algorithms.candidates(name, data.names)[0]
        scored[name] = evaluation.score_folds(candidate, data, windows, ALERT_RATE)
    found = {}
    for name, way in scored.items():
        figures = evaluation.judge(data, way).figures
        found[name] = (
            figures["average_precision"] or 0.0,
            unblocked(data, way).figures["average_precision"] or 0.0,
            figures["card_precision_100"] or 0.0,
        )
    return found


def main(seeds: list[int]) -> None:
    """Measure and print."""
    each: dict[str, list[tuple[float, float, float]]] = {}
    print(f"{'seed':>6}  {'way of scoring':<18} {'AP':>6} {'AP unblocked':>13} {'card P@100':>11}")
    for seed in seeds:
        for name, figures in measure(seed).items():
            each.setdefault(name, []).append(figures)
            print(
                f"{seed:>6}  {name:<18} {figures[0]:>6.3f} {figures[1]:>13.3f} {figures[2]:>11.3f}",
                flush=True,
            )
    for name, rows in each.items():
        mean = np.mean(rows, axis=0)
        goal = f"   goal: {GOALS[name]}" if name in GOALS else ""
        print(f"{'mean':>6}  {name:<18} {mean[0]:>6.3f} {mean[1]:>13.3f} {mean[2]:>11.3f}{goal}")


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [11, 12, 13])
