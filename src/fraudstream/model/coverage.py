"""Whether the labels that are known stand for all traffic. Those of chargebacks and reviewed alerts do not."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from fraudstream.arrays import Integers, Truths

ENOUGH: Final = 0.5
"""Of all transactions at least so many have to be known as legitimate: fewer were chosen by somebody, and not at random."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of some transactions are known to be what."""

    transactions: int
    """From the first labelled one to the last: labels may have begun late, and some have not come yet."""
    frauds: int
    legitimate: int

    @classmethod
    def of(cls, rows: "Integers", known: "Truths", fraud: "Truths") -> "Coverage":
        """Of these places, in order of time; `known` and `fraud` are those of all rows."""
        places = np.flatnonzero(known[rows])
        frauds = int(fraud[rows[places]].sum())
        return cls(int(np.ptp(places)) + 1 if len(places) else 0, frauds, len(places) - frauds)

    @property
    def one_sided(self) -> bool:
        """Whether ordinary payments are hardly among what is known.

        >>> Coverage(transactions=30_000, frauds=450, legitimate=300).one_sided
        True
        >>> Coverage(transactions=30_000, frauds=450, legitimate=24_000).one_sided
        False
        """
        return self.legitimate < max(self.frauds, ENOUGH * self.transactions)
