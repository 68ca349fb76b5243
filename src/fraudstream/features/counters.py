"""The mathematics of exponentially decayed counters.

A counter with half-life h holds s(t) = Σ xᵢ · 2^(-(t - tᵢ)/h). A state is a pair (t, s): the time of its
latest event and its value at that time. Times are int64 microseconds since 1970 (UTC), so a
difference is exact; half-lives are seconds. Every function aligns to the later of two times:
no exponent is ever positive, so nothing overflows, whatever the timestamps are.
"""

from typing import Final

import numpy as np

from fraudstream.arrays import Floats, Integers, Truths

NEVER: Final = np.iinfo(np.int64).min // 2
"""The time of an empty state. Half the range, so that a difference to any time still fits."""


def weight(elapsed: Floats, half_life: float) -> Floats:
    """What is left of 1 after `elapsed` seconds; negative ones count as 0.

    >>> weight(np.array([0.0, 60.0, 120.0, -5.0]), 60.0).tolist()
    [1.0, 0.5, 0.25, 1.0]
    """
    return np.exp2(np.maximum(elapsed, 0.0) / -half_life)


def seconds(later: Integers, earlier: Integers) -> Floats:
    """`later - earlier` in seconds."""
    return (later - earlier) / 1e6


def begins(code: Integers) -> Truths:
    """Where a new key begins, in codes of which equal ones are adjacent.

    >>> begins(np.array([3, 3, 5])).tolist()
    [True, False, True]
    """
    first = np.ones(len(code), dtype=np.bool_)
    first[1:] = code[1:] != code[:-1]
    return first


def latest(at: Integers, group: Integers, groups: int) -> Integers:
    """The latest time in each of `groups` groups; `group[i]` is the group of event i."""
    last = np.full(groups, NEVER, dtype=np.int64)
    np.maximum.at(last, group, at)
    return last


def fold(weights: Floats, value: Floats | None, group: Integers, groups: int) -> Floats:
    """Σ value · weight in each group; `weights` are the events' at their group's latest time."""
    total = np.bincount(group, weights if value is None else weights * value, groups)
    return total.astype(np.float64, copy=False)


def two_largest(value: Floats, group: Integers, groups: int, none: float = 0.0) -> tuple[Floats, Floats]:
    """The largest value in each group and the second largest, or `none` if there is no larger value.

    >>> two_largest(np.array([3.0, 5.0, 5.0, 2.0]), np.array([0, 0, 0, 1]), 2)
    (array([5., 2.]), array([5., 0.]))
    """
    first, second = np.full(groups, none), np.full(groups, none)
    np.maximum.at(first, group, value)
    holder = np.full(groups, -1)
    holders = np.flatnonzero(value == first[group])
    holder[group[holders]] = holders  # one per group
    others = np.ones(len(value), dtype=np.bool_)
    others[holder[holder >= 0]] = False
    np.maximum.at(second, group[others], value[others])
    return first, second


def scan(factor: Floats, value: Floats) -> Floats:
    """Running decayed sums: s[0] = value[0], s[i] = factor[i] · s[i-1] + value[i].

    `factor` is 0 at the start of a group and `weight(t[i] - t[i-1])` elsewhere. The recurrence is a
    triangular system with one diagonal below the main one, (I - diag(factor, -1)) s = value, which BLAS
    solves by forward substitution in one pass: no overflow and no cancellation, as every term
    is positive, and no cost for skewed groups. 2,000,000 steps take about 40 ms.
    """
    from scipy.linalg.blas import dtbsv

    n = len(value)
    if n == 0:
        return np.zeros(0)
    band = np.empty((2, n), order="F")
    band[0] = 1.0
    np.negative(factor[1:], out=band[1, :-1])
    # The last element below the diagonal is outside the matrix; BLAS does not read it.
    band[1, -1] = 0.0
    solved: Floats = dtbsv(1, band, value, lower=1, diag=1)
    return solved


def scan_largest(value: Floats, group: Integers) -> Floats:
    """Running maxima within groups; events of a group are adjacent and `group` is nondecreasing.

    Values are replaced by ranks, so that one integer can encode group and value without rounding.
    """
    levels, rank = np.unique(value, return_inverse=True)
    ceiling = len(levels) + 1
    top = np.maximum.accumulate(group * ceiling + rank)
    running: Floats = levels[top % ceiling]
    return running
