"""Latency of decisions per minute, updated in the same transaction that stores them.

From a transaction's entry into Kafka to its decision, in bins of 2 %: a percentile of an hour reads thousands of
rows, however many decisions it had (computing it from the decisions themselves takes 3 s per million).
"""

from typing import TYPE_CHECKING, Final

import numpy as np

from fraudstream.micros import SECOND, moment
from fraudstream.store.connection import Cursor
from fraudstream.store.sums import Sums

if TYPE_CHECKING:
    import pyarrow as pa

MINUTE: Final = 60 * SECOND
BINS_PER_E: Final = 50
"""Bins per factor of e: each is 2 % wide, so a percentile is exact to 1 %."""
SHORTEST, LONGEST = 1e-4, 1e7
"""Limits in seconds: by the clocks of two machines, a decision may precede its transaction."""


class LatencyBins:
    """What one slice adds to `shop.latency_bins`."""

    def __init__(self, cursor: Cursor) -> None:
        self._counts = Sums(
            cursor, "latency_bins", {"minute": "timestamptz", "bin": "int"}, {"count": "bigint"}
        )

    def add(self, rows: "pa.Table") -> None:
        """Count newly stored decisions by `scored_at` and `sent_at`; those without `sent_at` came from a file."""
        import pyarrow as pa

        rows = rows.select(["scored_at", "sent_at"]).filter(rows["sent_at"].is_valid())
        scored, sent = (rows[name].cast(pa.int64()).to_numpy() for name in ("scored_at", "sent_at"))
        seconds = np.clip((scored - sent) / 1e6, SHORTEST, LONGEST)
        bins = np.rint(np.log(seconds) * BINS_PER_E).astype(np.int64)
        minutes = np.floor_divide(scored, MINUTE)
        self._counts.count((minutes, bins), lambda minute, place: (moment(minute * MINUTE), place))

    def finish(self) -> None:
        """Merge what was added."""
        self._counts.merge()
