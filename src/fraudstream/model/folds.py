"""Which rows a model learns from, and on which later ones it is evaluated.

        learn                    gap = label delay         evaluate
  ──────────────────────────┤·······················├───────────────────┤
  first                  train_until            test_from           test_until

In the gap no label is known yet when the test begins, so the model cannot learn there. It is used to set the
threshold: an alert budget needs risks of rows that the model has not seen, but no labels.

Windows consist of busy days. Otherwise one stray timestamp, or a stream that paused, would leave them empty: nothing
could be evaluated, and the threshold would depend on a single row.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np

from fraudstream.arrays import Integers
from fraudstream.micros import DAY

WINDOW_DAYS = 7
"""A test window has every weekday once."""
LAYOUTS = ((4, 2), (2, 1))
"""(test, validation) windows, the first that the history is long enough for."""
TRAIN_SHARE = 0.3
"""Minimum share of the history, without the gap, before the first validation window."""
QUIET_SHARE = 0.01
"""A day with less than this share of a usual day's transactions is quiet: only stragglers, not a slow day."""
MOST_KEPT_BACK = 0.2
"""At most this share of the rows is reserved for the threshold instead of learning."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Times in microseconds of UTC; ends are exclusive."""

    train_until: int
    test_from: int
    test_until: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Folds in order of time, validation before test, without overlaps."""

    validation: tuple[Fold, ...]
    test: tuple[Fold, ...]
    window_days: int

    @property
    def possible(self) -> bool:
        """Whether the history was long enough for any folds."""
        return bool(self.test)


def plan(micros: Integers, delay_days: float, alert_rate: float) -> Plan:
    """Weekly windows at the end of the history, of whole days in UTC; shorter ones if the history is short.

    `micros` are the times of the transactions, in order. Without room for two windows of a day
    after the gap there are none.
    """
    busy = busy_days(micros)
    first = began_at(micros, busy)
    room = (len(busy) * DAY - (first - int(busy[0]))) / DAY - delay_days
    for tests, validations in LAYOUTS:
        windows = tests + validations
        days = min(WINDOW_DAYS, int(room * (1 - TRAIN_SHARE) // windows))
        if days >= 1:
            folds = [
                Fold(learn_until(micros, start, delay_days, alert_rate), start, end)
                for start, end in _windows(busy[-windows * days :], days)
            ]
            return Plan(tuple(folds[:validations]), tuple(folds[validations:]), days)
    return Plan((), (), 0)


def busy_days(micros: Integers) -> Integers:
    """Start times of the days in UTC that are not quiet; at least one."""
    days, counts = np.unique(micros // DAY, return_counts=True)
    busy: Integers = days[counts >= QUIET_SHARE * np.median(counts)] * DAY
    return busy


def weeks(micros: Integers, since: int) -> list[tuple[int, int]]:
    """Windows (from, until) of a week, starting with the first whole day after `since`; the last one may be shorter."""
    busy = busy_days(micros)
    return _windows(busy[busy >= since], WINDOW_DAYS)


def _windows(busy: Integers, days: int) -> list[tuple[int, int]]:
    """Windows of `days` busy days each, from the start of the first to the end of the last."""
    parts = [busy[at : at + days] for at in range(0, len(busy), days)]
    return [(int(part[0]), int(part[-1]) + DAY) for part in parts]


def days_between(micros: Integers, since: int, until: int) -> float:
    """Days between two times, without the quiet ones."""
    busy = busy_days(micros)
    inside = np.minimum(busy + DAY, until) - np.maximum(busy, since)
    return float(inside[inside > 0].sum()) / DAY


def began_at(micros: Integers, busy: Integers) -> int:
    """The first transaction of the first of the `busy_days`."""
    return int(micros[np.searchsorted(micros, busy[0])])


def end_of(micros: Integers) -> int:
    """Just after the last transaction of the last busy day."""
    return int(micros[np.searchsorted(micros, busy_days(micros)[-1] + DAY) - 1]) + 1


def learn_until(micros: Integers, end: int, delay_days: float, alert_rate: float) -> int:
    """The time until which a model may learn if its threshold applies from `end` on.

    The label delay before `end`, or earlier if the alert budget of the rows between would be less than one row: a
    threshold above all of a handful of rows flags many times the budget.
    """
    before = int(np.searchsorted(micros, end))
    needed = min(ceil(1 / alert_rate), int(before * MOST_KEPT_BACK))
    until = int(end - delay_days * DAY)
    return min(until, int(micros[before - needed])) if needed else until
