"""The quality of a ranking of transactions, in the usual metrics of fraud detection.

Every function takes `risk` (higher is worse) and `fraud` (0 or 1), arrays (n,), and returns None if the
metric is undefined: with only frauds, or none, there is nothing to rank.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fraudstream.arrays import Floats, Integers, Truths

REPLICATES = 200
"""Bootstrap replicates: five values lie beyond each of the 2.5 % and 97.5 % points; more replicates would change only the third digit."""
ABOVE_ALL = 1e-9
"""Distance above the highest risk of a threshold that flags nothing: for risks well above rounding, well below differences."""
TOP = 100
"""Cards that investigators check per day, as in the Fraud Detection Handbook."""


def average_precision(risk: Floats, fraud: Truths) -> float | None:
    """Σ (Rₖ - Rₖ₋₁)·Pₖ over the distinct risks from the highest down, as in scikit-learn."""
    return Ranking.of(risk, fraud).average_precision(np.ones(len(risk))) if len(risk) else None


@dataclass(frozen=True, slots=True)
class Ranking:
    """A sorted ranking, so that a bootstrap sorts only once."""

    order: Integers
    fraud: Truths
    ends: Integers
    """The last position of each run of equal risks: a threshold includes all of them or none."""

    @classmethod
    def of(cls, risk: Floats, fraud: Truths) -> "Ranking":
        """The ranking of `risk`, the highest first."""
        order = np.argsort(-risk, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(risk[order])), len(order) - 1)
        return cls(order, fraud[order].astype(bool), ends)

    def curve(self, weights: Floats) -> tuple[Floats, Floats]:
        """Recall and precision at each distinct risk; weights (n,) are those of the unsorted rows."""
        sorted_weights = weights[self.order]
        caught = np.cumsum(sorted_weights * self.fraud)[self.ends]
        taken = np.cumsum(sorted_weights)[self.ends]
        # In a replicate a run of rows may have no weight, and is then ignored.
        precision = np.divide(caught, taken, out=np.zeros_like(caught), where=taken > 0)
        total = caught[-1]
        return (caught / total if total > 0 else np.zeros_like(caught)), precision

    def average_precision(self, weights: Floats) -> float | None:
        """Average precision with these weights; None if there are no frauds, or only frauds."""
        bad = (weights[self.order] * self.fraud).sum()
        if bad <= 0 or bad >= weights.sum():
            return None
        recall, precision = self.curve(weights)
        return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def roc_auc(risk: Floats, fraud: Truths) -> float | None:
    """Probability that a random fraud is ranked above a random other transaction, ties counting half.

    From mean ranks (Mann-Whitney U).
    """
    bad = int(fraud.sum())
    good = len(fraud) - bad
    if not bad or not good:
        return None
    _, where, count = np.unique(risk, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2.0
    return float((mean_rank[where][fraud.astype(bool)].sum() - bad * (bad + 1) / 2) / (bad * good))


def card_precision(
    risk: Floats,
    fraud: Truths,
    day: Integers,
    customer: Integers,
    top: int = TOP,
) -> float | None:
    """The share of compromised customers among the `top` ones with the highest risk on each day; mean over days.

    A customer caught on one day is not checked again on later ones, like a blocked card:
    Fraud Detection Handbook, chapter 4, "Precision top-k metrics". `day` and `customer` are codes (n,).
    """
    if not fraud.any() or fraud.all():
        return None
    caught: set[int] = set()
    shares = []
    for today in np.unique(day):
        rows = day == today
        who, where = np.unique(customer[rows], return_inverse=True)
        worst = np.zeros(len(who))
        bad = np.zeros(len(who), dtype=bool)
        np.maximum.at(worst, where, risk[rows])
        np.logical_or.at(bad, where, fraud[rows])
        looked_at = [i for i in np.argsort(-worst, kind="stable") if int(who[i]) not in caught][:top]
        found = [int(who[i]) for i in looked_at if bad[i]]
        shares.append(len(found) / top)
        caught.update(found)
    return float(np.mean(shares))


def recall_at(risk: Floats, fraud: Truths, threshold: float) -> float | None:
    """The share of fraud at or above `threshold`."""
    return float((risk[fraud.astype(bool)] >= threshold).mean()) if fraud.any() else None


def interval(parts: list[tuple[Floats, Truths, Integers]], customers: int) -> tuple[float, float] | None:
    """95 % bootstrap interval of the mean average precision over `parts` of (risk, fraud, customer code).

    Whole customers are resampled, the same ones in every part. Frauds of one victim come in series of one kind,
    so rows are far from independent and resampling rows would make the interval too narrow; days would be
    independent enough, but four weeks have only 28 of them.
    """
    rankings = [(Ranking.of(risk, fraud),) for risk, fraud, _ in parts]
    return _spread([mean for (mean,) in _resampled(rankings, [part[2] for part in parts], customers)])


def advantage(
    parts: list[tuple[Floats, Floats, Truths, Integers]], customers: int
) -> tuple[float, float] | None:
    """95 % bootstrap interval of how much more mean average precision one risk reaches than another.

    `parts` are of (its risk, the other one's, fraud, customer code). Both are measured on the same drawn customers, so what
    is hard for both does not widen the interval, as it does those of each alone.
    """
    rankings = [(Ranking.of(own, fraud), Ranking.of(other, fraud)) for own, other, fraud, _ in parts]
    return _spread([a - b for a, b in _resampled(rankings, [part[3] for part in parts], customers)])


def _resampled(
    rankings: Sequence[tuple[Ranking, ...]], customer: Sequence[Integers], customers: int
) -> Iterator[tuple[float, ...]]:
    """Mean average precision over the parts, of each ranking of a part, in every replicate that has frauds and others."""
    if customers < 2:  # noqa: PLR2004 - one has no spread
        return
    rng = np.random.default_rng(0)
    for _ in range(REPLICATES):
        drawn = np.bincount(rng.integers(0, customers, customers), minlength=customers).astype(np.float64)
        found = [
            [ranking.average_precision(drawn[codes]) for ranking in of_part]
            for of_part, codes in zip(rankings, customer, strict=True)
        ]
        # Whether there is one depends on the truth alone: all rankings of a part have it, or none.
        said = [part for part in found if None not in part]
        if said:
            yield tuple(np.mean(np.array(said, dtype=np.float64), axis=0).tolist())


def _spread(figures: list[float]) -> tuple[float, float] | None:
    if not figures:
        return None
    low, high = np.percentile(figures, [2.5, 97.5])
    return float(low), float(high)


def allowed(alert_rate: float, rows: int) -> int:
    """How many of these rows the budget allows to flag.

    >>> allowed(0.29, 100), 0.29 * 100
    (29, 28.999999999999996)
    """
    return int(np.floor(alert_rate * rows + 1e-9))


def threshold_for(risk: Floats, alert_rate: float) -> float:
    """A threshold that flags as many of these rows as possible, but at most `alert_rate` (`risk >= threshold`).

    It is in the middle between the last flagged risk and the first that is not: numpy and
    the JVM add up trees in a different order, and at a threshold equal to a risk the last bit would decide.
    Rows with the same risk are flagged together or not at all.
    """
    ordered = np.sort(risk)[::-1]
    most = allowed(alert_rate, len(ordered))
    if most >= len(ordered):
        return 0.0
    refused = ordered[most]  # the first row beyond the budget
    above = ordered[ordered > refused]
    middle = (above[-1] + refused) / 2 if len(above) else refused + ABOVE_ALL
    # Scores of another system, and amounts, may be so large that the sum is rounded to what is refused.
    return float(max(middle, np.nextafter(refused, np.inf)))
