"""Rows and money per hour, updated in the same transaction that stores the rows."""

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np

from fraudstream.arrays import Integers
from fraudstream.features.catalogue import LARGEST_AMOUNT
from fraudstream.micros import HOUR, moment
from fraudstream.store.connection import Cursor
from fraudstream.store.sums import Sums

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["transactions", "fraud", "scores", "alerts"]


def hours(instants: "pa.ChunkedArray") -> Integers:
    """Timestamps in microseconds as hours since 1970, rounded down."""
    import pyarrow as pa

    micros: Integers = instants.cast(pa.int64()).to_numpy()
    return np.floor_divide(micros, HOUR)


def instant(hour: int) -> datetime:
    """The start of an hour, given in hours since 1970."""
    return moment(hour * HOUR)


class Hourly:
    """What one slice adds to `shop.hourly`."""

    def __init__(self, cursor: Cursor) -> None:
        self._sums = Sums(
            cursor,
            "hourly",
            {"kind": "text", "hour": "timestamptz"},
            {"count": "bigint", "amount": "float8"},
        )

    def add(self, kind: Kind, rows: "pa.Table") -> None:
        """Count newly stored rows by `timestamp`, with their `amount` up to LARGEST_AMOUNT."""
        import pyarrow as pa

        if not rows.num_rows:
            return
        # By hashing, as there are few hours: `np.unique` sorts all rows.
        encoded = pa.array(hours(rows["timestamp"])).dictionary_encode()
        found, place = encoded.dictionary, encoded.indices.to_numpy()
        amounts = np.clip(rows["amount"].to_numpy(), 0.0, LARGEST_AMOUNT)
        counts, sums = np.bincount(place), np.bincount(place, weights=amounts)
        for hour, count, amount in zip(found.to_pylist(), counts.tolist(), sums.tolist(), strict=True):
            self._sums.add((kind, instant(hour)), count, amount)

    def finish(self) -> None:
        """Merge what was added."""
        self._sums.merge()
