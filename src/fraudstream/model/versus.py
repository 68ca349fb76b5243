"""A newly trained model against the champion, on payments that neither has learned from."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fraudstream.arrays import Floats, Integers, Truths
from fraudstream.micros import DAY, micros
from fraudstream.model import metrics, reporting
from fraudstream.model.artifact import TREES, Model
from fraudstream.model.coverage import Coverage
from fraudstream.model.dataset import Dataset
from fraudstream.model.evaluation import Scored

FEW_DEFRAUDED = 10
"""With fewer defrauded customers nothing is told: draws of customers without them are dropped, and in all others hardly a
rank moves. Two equally good models would be told apart in seven of ten cases with one, and in one of ten from here on."""


class _Part(NamedTuple):
    """What both models say of the payments of one window that the champion cannot know, and whose truth is known."""

    risk: Floats
    theirs: Floats
    fraud: Truths
    customer: Integers
    since: int
    until: int
    one_sided: bool
    """Whether hardly any ordinary payments of that time are among them."""


def versus(
    champion: Model, data: Dataset, scored: Sequence[Scored], notes: list[str]
) -> dict[str, Any] | None:
    """Average precision of both on the rows of the new model's test windows that the champion cannot know either.

    Those are later than its training by its label delay. Keys: `version`, `average_precision` (the new model's),
    `champion_average_precision`, `interval` (95 %, of the difference, by a paired bootstrap over customers), `from`, `until`,
    `transactions`, `frauds`, `defrauded_customers`, `one_sided`. The interval is None if few customers were defrauded, or
    if the labels are one-sided. None if there is no fraud among the rows yet, or if the champion cannot judge them, which
    is noted. Raises InputError if the champion's manifest or trees cannot be used.
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
    found = [_part(champion, data, window) for window in scored]
    parts = [part for part in found if part is not None]
    if not parts:
        return None
    # Who reviews only the champion's alerts knows its mistakes and not those of an equal model, which then looks better.
    fair = [part for part in parts if not part.one_sided]
    parts = fair or parts
    defrauded = len(np.unique(np.concatenate([part.customer[part.fraud] for part in parts])))
    told = bool(fair) and defrauded >= FEW_DEFRAUDED
    return {
        "version": champion.version,
        "average_precision": _mean([metrics.average_precision(part.risk, part.fraud) for part in parts]),
        "champion_average_precision": _mean(
            [metrics.average_precision(part.theirs, part.fraud) for part in parts]
        ),
        "interval": metrics.advantage([part[:4] for part in parts], data.customers) if told else None,
        "from": reporting.iso(parts[0].since),
        "until": reporting.iso(parts[-1].until),
        "transactions": sum(len(part.fraud) for part in parts),
        "frauds": int(sum(part.fraud.sum() for part in parts)),
        "defrauded_customers": defrauded,
        "one_sided": not fair,
    }


def _part(champion: Model, data: Dataset, window: Scored) -> _Part | None:
    """The part of a window; None if there are no frauds in it, or only frauds."""
    since = micros(champion.learned_until) + int(champion.label_delay_days * DAY)
    rows, risk, fraud = window.known(data)
    late = data.micros[rows] >= since
    rows, risk, fraud = rows[late], risk[late], fraud[late]
    if not fraud.any() or fraud.all():
        return None
    every = window.rows[data.micros[window.rows] >= since]
    return _Part(
        risk,
        champion.risk(data.columns(champion.features, rows)),
        fraud,
        data.customer[rows],
        max(window.fold.test_from, since),
        window.fold.test_until,
        Coverage.of(every, data.judged, data.fraud).one_sided,
    )


def _mean(figures: Sequence[float | None]) -> float:
    return float(np.mean([figure for figure in figures if figure is not None]))


def sentence(found: dict[str, Any]) -> str:
    """What `versus` found, in words; manifests of earlier versions lack the last two keys.

    >>> found = {"version": "m", "average_precision": 0.7, "champion_average_precision": 0.6, "interval": (0.05, 0.15),
    ...   "from": "2026-11-01T00:00:00+00:00", "until": "2026-11-08T00:00:00+00:00", "transactions": 9000, "frauds": 40}
    >>> sentence(found)
    'It finds fraud better than the champion m: average precision 0.700 against 0.600 on the same 9,000 payments (40 frauds, 2026-11-01 to 2026-11-08); the difference is 0.050 to 0.150 (95 %).'
    >>> sentence(found | {"interval": None, "defrauded_customers": 3})
    'Whether it finds fraud better than the champion m cannot be told, as only 3 customers were defrauded in that time: average precision 0.700 against 0.600 on the same 9,000 payments (40 frauds, 2026-11-01 to 2026-11-08).'
    """
    interval = found["interval"]
    low, high = interval or (-1.0, 1.0)
    verdict = "finds fraud better than" if low > 0 else "finds fraud less well than" if high < 0 else None
    begins = (
        f"It {verdict} the champion {found['version']}"
        if verdict
        else f"Whether it finds fraud better than the champion {found['version']} cannot be told{_why(found)}"
    )
    spread = f"; the difference is {low:.3f} to {high:.3f} (95 %)" if interval else ""
    return (
        f"{begins}: average precision {found['average_precision']:.3f} against {found['champion_average_precision']:.3f}"
        f" on the same {found['transactions']:,} payments ({found['frauds']:,} frauds, {found['from'][:10]} to"
        f" {found['until'][:10]}){spread}."
    )


def _why(found: dict[str, Any]) -> str:
    """Why nothing is told, other than that the difference may be chance."""
    if found.get("one_sided"):
        return ", as hardly any ordinary payments of that time are labelled, which favours the newer model if only alerts were reviewed"
    defrauded = found.get("defrauded_customers", FEW_DEFRAUDED)
    if defrauded < FEW_DEFRAUDED:
        return (
            f", as only {defrauded} customer{' was' if defrauded == 1 else 's were'} defrauded in that time"
        )
    return ""
