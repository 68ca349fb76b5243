"""A newly trained model against the champion, on payments that neither has learned from."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fraudstream.arrays import Floats, Integers, Truths
from fraudstream.micros import DAY, micros
from fraudstream.model import metrics, reporting
from fraudstream.model.artifact import TREES, Model
from fraudstream.model.dataset import Dataset
from fraudstream.model.evaluation import Scored


def versus(
    champion: Model, data: Dataset, scored: Sequence[Scored], notes: list[str]
) -> dict[str, Any] | None:
    """Average precision of both on the rows of the new model's test windows that the champion cannot know either.

    Those are later than its training by its label delay. Keys: `version`, `average_precision` (the new model's),
    `champion_average_precision`, `interval` (95 %, of the difference, by a paired bootstrap over customers), `from`, `until`,
    `transactions`, `frauds`. None if there is no fraud among them yet, or if the champion cannot judge them, which is noted.
    """
    missing = [name for name in champion.features if name not in data.names]
    if missing or TREES not in champion.files:
        # An estimator is somebody's code, which training another model need not run.
        why = (
            f"it needs {', '.join(missing)}, which were not computed or have one value"
            if missing
            else "it has no trees"
        )
        notes.append(f"The champion {champion.version} was not compared: {why}.")
        return None
    since = micros(champion.learned_until) + int(champion.label_delay_days * DAY)
    parts: list[tuple[Floats, Floats, Truths, Integers]] = []
    spans: list[tuple[int, int]] = []
    for window in scored:
        rows, risk, fraud = window.known(data)
        late = data.micros[rows] >= since
        if not late.any():
            continue
        theirs = champion.risk(data.columns(champion.features, rows[late]))
        parts.append((risk[late], theirs, fraud[late], data.customer[rows[late]]))
        spans.append((max(window.fold.test_from, since), window.fold.test_until))
    own = [metrics.average_precision(risk, fraud) for risk, _, fraud, _ in parts]
    other = [metrics.average_precision(risk, fraud) for _, risk, fraud, _ in parts]
    told = [n for n, value in enumerate(own) if value is not None]
    if not told:
        return None
    interval = metrics.advantage([parts[n] for n in told], data.customers)
    return {
        "version": champion.version,
        "average_precision": _mean(own),
        "champion_average_precision": _mean(other),
        "interval": interval,
        "from": reporting.iso(min(spans[n][0] for n in told)),
        "until": reporting.iso(max(spans[n][1] for n in told)),
        "transactions": sum(len(parts[n][2]) for n in told),
        "frauds": int(sum(parts[n][2].sum() for n in told)),
    }


def _mean(figures: Sequence[float | None]) -> float:
    return float(np.mean([figure for figure in figures if figure is not None]))


def sentence(found: dict[str, Any]) -> str:
    """What `versus` found, in words.

    >>> sentence({"version": "m", "average_precision": 0.7, "champion_average_precision": 0.6, "interval": (0.05, 0.15),
    ...   "from": "2026-11-01T00:00:00+00:00", "until": "2026-11-08T00:00:00+00:00", "transactions": 9000, "frauds": 40})
    'It finds fraud better than the champion m: average precision 0.700 against 0.600 on the same 9,000 payments (40 frauds, 2026-11-01 to 2026-11-08); the difference is 0.050 to 0.150 (95 %).'
    """
    interval = found["interval"]
    low, high = interval or (-1.0, 1.0)
    verdict = "finds fraud better than" if low > 0 else "finds fraud less well than" if high < 0 else None
    begins = (
        f"It {verdict} the champion {found['version']}"
        if verdict
        else (f"Whether it finds fraud better than the champion {found['version']} cannot be told")
    )
    spread = f"; the difference is {low:.3f} to {high:.3f} (95 %)" if interval else ""
    return (
        f"{begins}: average precision {found['average_precision']:.3f} against {found['champion_average_precision']:.3f}"
        f" on the same {found['transactions']:,} payments ({found['frauds']:,} frauds, {found['from'][:10]} to"
        f" {found['until'][:10]}){spread}."
    )
