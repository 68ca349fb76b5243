"""What a consumer says of itself while it runs: how much it stored, and what it could not read."""

import logging
from typing import TYPE_CHECKING

from fraudstream.logs import get_logger
from fraudstream.metrics import Monitor
from fraudstream.store.rejected import is_flood

if TYPE_CHECKING:
    from fraudstream.spark.consumer import Summary

log = get_logger("consume")

SHOWN = 200
"""Characters of a reason: it names every field that is wrong."""


class Narration:
    """The lines of one query. `read` messages and `rejected` ones were counted before it began."""

    def __init__(self, monitor: Monitor, topic: str, read: int, rejected: int) -> None:
        self._monitor = monitor
        self._topic = topic
        self._told = (read, rejected)

    def owes(self, summary: "Summary") -> bool:
        """Whether messages could not be read of which nothing was said yet."""
        return summary.rejected > self._told[1]

    def tell(self, summary: "Summary", read: int, pace: float) -> None:
        """Say what was stored, and what of the messages since the last line could not be read.

        Where that is most of them, it is a warning, and `/healthz` says so as well: at 200, as no new start cures it.
        """
        rejected = summary.rejected - self._told[1]
        # The executors' reports come in beside us: a slice may be among the rejects and not among the offsets yet.
        new = max(read - self._told[0], rejected)
        self._told = (read, summary.rejected)
        flood = is_flood(rejected, new)
        share = f"{rejected:,} of the last {new:,} messages of {self._topic} could not be read"
        why = summary.reason[:SHOWN]
        line = f"stored {summary.rows:,} rows of {self._topic}, {pace:,.0f} a second"
        if rejected:
            line += f"; {share}, {summary.rejected:,} in all; the latest: {why}"
        log.log(logging.WARNING if flood else logging.INFO, "%s", line)
        self._monitor.remark(summary.stream, f"{share}: {why}." if flood else None)
