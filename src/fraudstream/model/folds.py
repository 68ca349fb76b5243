"""Which rows a model may learn from, and on which it is judged: always earlier ones, and later ones.

        learn                    gap = label delay          judge
  ──────────────────────────┤·······················├───────────────────┤
  first                  train_until            test_from           test_until

In the gap no label is known yet when the test begins, so nothing there can be learnt from. It serves to set the
threshold: an alert budget needs risks of rows that the model has not seen, and no labels.
"""

from dataclasses import dataclass
from typing import Final

DAY: Final = 86_400_000_000
"""Microseconds."""
WINDOW_DAYS = 7
"""A test window holds every weekday once."""
LAYOUTS = ((4, 2), (2, 1))
"""(test, validation) windows, the first that the history is long enough for."""
TRAIN_SHARE = 0.3
"""At least this share of the history, less the gap, lies before the first validation window."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Instants in microseconds of UTC; the later ends are exclusive."""

    train_until: int
    test_from: int
    test_until: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Folds in order of time, validation before test, none overlapping another."""

    validation: tuple[Fold, ...]
    test: tuple[Fold, ...]
    window_days: int

    @property
    def possible(self) -> bool:
        """Whether the history was long enough for any."""
        return bool(self.test)


def plan(first: int, last: int, delay_days: float) -> Plan:
    """Weekly windows at the end of the history, on whole days of UTC; shorter ones where the history is short.

    `first` and `last` are the instants of the first and last transaction. Without room for two windows of a day
    after the gap there are none.
    """
    end = -(-(last + 1) // DAY) * DAY
    room = (end - first) / DAY - delay_days
    for tests, validations in LAYOUTS:
        windows = tests + validations
        days = min(WINDOW_DAYS, int(room * (1 - TRAIN_SHARE) // windows))
        if days >= 1:
            starts = [end - (windows - i) * days * DAY for i in range(windows)]
            folds = [Fold(int(s - delay_days * DAY), s, s + days * DAY) for s in starts]
            return Plan(tuple(folds[:validations]), tuple(folds[validations:]), days)
    return Plan((), (), 0)
