"""How good a ranking of transactions is, in the figures of the field.

Every function takes `risk` (higher is worse) and `fraud` (0 or 1), arrays (n,), and returns None where the
figure is undefined: without a fraud, or without anything else, there is nothing to rank.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fraudstream.arrays import Floats, Integers, Truths

REPLICATES = 200
"""Bootstrap replicates: the 2.5 % and 97.5 % points then rest on five values beyond each; more changes the third digit."""
ABOVE_ALL = 1e-9
"""Distance of a threshold that nothing passes from the highest risk: far more than rounding, far less than a difference."""
TOP = 100
"""Cards that investigators look at on a day, as in the Fraud Detection Handbook."""


def average_precision(risk: "Floats", fraud: "Truths") -> float | None:
    """Σ (Rₖ - Rₖ₋₁)·Pₖ over the distinct risks from the highest, as in scikit-learn."""
    return Ranking.of(risk, fraud).average_precision(np.ones(len(risk))) if len(risk) else None


@dataclass(frozen=True, slots=True)
class Ranking:
    """A sorted ranking, so that a bootstrap sorts once."""

    order: "Integers"
    fraud: "Truths"
    ends: "Integers"
    """The last position of each run of equal risks: a threshold takes all of them or none."""

    @classmethod
    def of(cls, risk: "Floats", fraud: "Truths") -> "Ranking":
        """The ranking of `risk`, the highest first."""
        order = np.argsort(-risk, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(risk[order])), len(order) - 1)
        return cls(order, fraud[order].astype(bool), ends)

    def curve(self, weights: "Floats") -> "tuple[Floats, Floats]":
        """Recall and precision at each distinct risk; weights (n,) are those of the unsorted rows."""
        sorted_weights = weights[self.order]
        caught = np.cumsum(sorted_weights * self.fraud)[self.ends]
        taken = np.cumsum(sorted_weights)[self.ends]
        # A replicate may leave a run of rows without weight: nothing taken, nothing said about it.
        precision = np.divide(caught, taken, out=np.zeros_like(caught), where=taken > 0)
        total = caught[-1]
        return (caught / total if total > 0 else np.zeros_like(caught)), precision

    def average_precision(self, weights: "Floats") -> float | None:
        """Average precision with these weights; None without fraud, and where there is nothing but fraud to rank."""
        bad = (weights[self.order] * self.fraud).sum()
        if bad <= 0 or bad >= weights.sum():
            return None
        recall, precision = self.curve(weights)
        return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def roc_auc(risk: "Floats", fraud: "Truths") -> float | None:
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
    risk: "Floats",
    fraud: "Truths",
    day: "Integers",
    customer: "Integers",
    top: int = TOP,
) -> float | None:
    """Of the `top` customers with the highest risk on each day, the share that is compromised; mean over days.

    A customer caught on one day is not looked at again on later ones, as a blocked card would not be:
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


def recall_at(risk: "Floats", fraud: "Truths", threshold: float) -> float | None:
    """The share of the fraud at or above `threshold`."""
    return float((risk[fraud.astype(bool)] >= threshold).mean()) if fraud.any() else None


def interval(parts: "list[tuple[Floats, Truths, Integers]]", customers: int) -> tuple[float, float] | None:
    """95 % bootstrap interval of the mean average precision over `parts` of (risk, fraud, customer code).

    Whole customers are drawn, the same ones in every part. Frauds of one victim come in series of one kind,
    so rows are far from independent and drawing rows would make the interval too narrow; days would be
    independent enough, but four weeks have only 28 of them.
    """
    rankings = [Ranking.of(risk, fraud) for risk, fraud, _ in parts]
    if customers < 2:  # noqa: PLR2004 - one has no spread
        return None
    rng = np.random.default_rng(0)
    figures = []
    for _ in range(REPLICATES):
        drawn = np.bincount(rng.integers(0, customers, customers), minlength=customers).astype(np.float64)
        replicate = [
            ranking.average_precision(drawn[customer])
            for ranking, (_, _, customer) in zip(rankings, parts, strict=True)
        ]
        said = [figure for figure in replicate if figure is not None]
        if said:
            figures.append(float(np.mean(said)))
    if not figures:
        return None
    low, high = np.percentile(figures, [2.5, 97.5])
    return float(low), float(high)


def threshold_for(risk: "Floats", alert_rate: float) -> float:
    """A threshold that flags at most `alert_rate` of these rows (`risk >= threshold`), and as many as it can.

    It stands in the middle between the last risk that is flagged and the first that is not: numpy and
    the JVM add up trees in another order, and a threshold exactly on a risk would let the last bit decide.
    Rows that share one risk are flagged together or not at all.
    """
    ordered = np.sort(risk)[::-1]
    allowed = int(np.floor(alert_rate * len(ordered)))
    if allowed >= len(ordered):
        return 0.0
    refused = ordered[allowed]  # the first row beyond the budget
    above = ordered[ordered > refused]
    return float((above[-1] + refused) / 2 if len(above) else refused + ABOVE_ALL)
