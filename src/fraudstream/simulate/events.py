"""The data between the steps of the simulator: a record array of transactions, in integers."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fraudstream.arrays import Floats, Integers

EVENT = np.dtype(
    [
        ("at", np.int64),  # microseconds since 1970, UTC
        ("user", np.int32),  # row of `World.customers`
        ("merchant", np.int32),  # row of `World.merchants`
        ("device", np.int16),  # row of `places.DEVICES`
        ("city", np.int16),  # row of `World.cities`: where it happened
        ("scenario", np.int16),  # 0 is honest, else 1 + row of `scenarios.SCENARIOS`
        ("cents", np.int64),
    ]
)
"""One transaction, as row numbers of the tables that describe it."""

Events: TypeAlias = npt.NDArray[np.void]
"""A record array of `EVENT`."""
AnyInts: TypeAlias = npt.NDArray[np.integer[Any]]

_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


def chance(*parts: int | AnyInts) -> Floats:
    """A number in [0, 1) that depends only on `parts`: arrays broadcast, time is not involved.

    For what must be the same on every call (where a customer spends which week); single events
    come from a generator. Steele, Lea & Flood 2014, SplitMix64.
    """
    state: npt.NDArray[np.uint64] = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            word = np.asarray(part).astype(np.int64).view(np.uint64)
            z = (state ^ word) + np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> _SHIFTS[0])) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> _SHIFTS[1])) * np.uint64(0x94D049BB133111EB)
            state = z ^ (z >> _SHIFTS[2])
    return np.asarray(state >> np.uint64(11), np.float64) * 2.0**-53


def pick(cumulative: Floats, uniform: Floats) -> Integers:
    """Rows drawn in proportion to weights, given their cumulative sum and numbers in [0, 1)."""
    rows = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    return np.asarray(np.minimum(rows, len(cumulative) - 1))
