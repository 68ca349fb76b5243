"""Whether the known labels represent all traffic. Those from chargebacks and reviewed alerts do not."""

from dataclasses import dataclass

import numpy as np

from fraudstream.arrays import Integers, Truths


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of some transactions are labelled, and as what."""

    transactions: int
    """From the first labelled one to the last: labels may have begun late, and some have not come yet."""
    frauds: int
    legitimate: int

    @classmethod
    def of(cls, rows: Integers, known: Truths, fraud: Truths) -> "Coverage":
        """Of the rows at these positions, in order of time; `known` and `fraud` cover all rows."""
        places = np.flatnonzero(known[rows])
        frauds = int(fraud[rows[places]].sum())
        return cls(int(np.ptp(places)) + 1 if len(places) else 0, frauds, len(places) - frauds)

    @property
    def one_sided(self) -> bool:
        """Whether the labels hardly cover ordinary payments: fewer are known to be legitimate than are unlabelled.

        Fewer than that were selected by somebody, and not at random.

        >>> Coverage(transactions=30_000, frauds=450, legitimate=300).one_sided
        True
        >>> Coverage(transactions=30_000, frauds=450, legitimate=24_000).one_sided
        False
        >>> Coverage(transactions=1_000, frauds=501, legitimate=499).one_sided
        False
        """
        unlabelled = self.transactions - self.frauds - self.legitimate
        return not self.legitimate or self.legitimate < unlabelled
