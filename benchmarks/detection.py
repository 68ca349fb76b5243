"""Detection on transactions that fraudstream's own simulator did not make (see handbook.py), several seeds.

Prints, as means of four weekly test windows with a label delay of 7 days: average precision of the raw amount, of
the label-free isolation forest and of gradient boosting, and card precision at 100 a day. The `unblocked` columns leave
out customers already known as victims, as the Fraud Detection Handbook does before it computes anything.
Settings are those of `fraudstream train`; nothing is chosen here.

    python benchmarks/detection.py [--seeds N] [--quick] [--json]

Needs no services; 1.8 million transactions and about a minute on two cores for each seed.
"""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `fraudstream train` has it

import handbook
import numpy as np
from measure import Line, options, report

from fraudstream.model import candidates, evaluation, folds, tables
from fraudstream.model.dataset import Dataset, dataset

if TYPE_CHECKING:
    from fraudstream.model.evaluation import Judged, Scored

DELAY_DAYS, ALERT_RATE = 7.0, 0.005
FIRST_SEED = 11
GOALS: dict[str, tuple[float, float | None]] = {
    "isolation_forest": (0.23, None),
    "gradient_boosting": (0.69, 0.305),
}
"""Least average precision and card precision at 100 a day."""


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
    windows = folds.plan(data.micros, DELAY_DAYS, ALERT_RATE).test
    scored = {"amount": evaluation.score_baseline("amount", data, windows, ALERT_RATE)}
    for name in GOALS:
        candidate = candidates.candidates(name, data.names)[0]
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


def main() -> None:
    chosen = options(__doc__, seeds=3)
    each: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(FIRST_SEED, FIRST_SEED + chosen.seeds):
        for name, figures in measure(seed).items():
            each.setdefault(name, []).append(figures)
    lines = []
    for name, (precision, cards) in GOALS.items():
        mean, plain = np.mean(each[name], axis=0), np.mean(each["amount"], axis=0)
        for place, (figure, goal) in {
            0: ("average precision", precision),
            2: ("card precision@100", cards),
        }.items():
            lines.append(
                Line(
                    f"{name}, {figure}", float(mean[place]), "", "raw amount", float(plain[place]),
                    float(mean[place] / plain[place]), "" if goal is None else f"≥ {goal:g}",
                    None if goal is None else bool(mean[place] >= goal),
                    "" if place else f"{mean[1]:.3f} without known victims",
                )
            )  # fmt: skip
    report("detection", lines, chosen, each=each)


if __name__ == "__main__":
    main()
