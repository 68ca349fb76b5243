"""What a consumer logs while it runs: how much it stored, and what it could not read."""

import logging
from typing import TYPE_CHECKING

from fraudstream.logs import get_logger
from fraudstream.metrics import Monitor
from fraudstream.store.rejected import is_flood

if TYPE_CHECKING:
    from fraudstream.spark.consumer import Summary

log = get_logger("consume")

SHOWN = 200
"""Characters of a reason that are shown: it names every field that is wrong."""


class Narration:
    """The log lines of one query. `read` and `rejected` messages were counted before it began."""

    def __init__(self, monitor: Monitor, topic: str, read: int, rejected: int) -> None:
        self._monitor = monitor
        self._topic = topic
        self._told = (read, rejected)
        self._warned = False

    def owes(self, summary: "Summary", read: int) -> bool:
        """Whether messages could not be read that were not reported yet, or others could after a warning."""
        return summary.rejected > self._told[1] or (self._warned and read > self._told[0])

    def tell(self, summary: "Summary", read: int, pace: float) -> None:
        """Log what was stored, and how many of the messages since the last line could not be read.

        If most could not, this is a warning, and `/healthz` says so, too, with status 200, as a restart would not help.
        """
        rejected = summary.rejected - self._told[1]
        # Executors report concurrently: a slice may be among the rejects and not yet among the offsets.
        new = max(read - self._told[0], rejected)
        self._told = (read, summary.rejected)
        flood = self._warned = is_flood(rejected, new)
        share = f"{rejected:,} of the last {new:,} messages of {self._topic} could not be read"
        why = summary.reason[:SHOWN]
        line = f"stored {summary.rows:,} rows of {self._topic}, {pace:,.0f} a second"
        if rejected:
            line += f"; {share}, {summary.rejected:,} in all; the latest: {why}"
        log.log(logging.WARNING if flood else logging.INFO, "%s", line)
        self._monitor.remark(summary.stream, f"{share}: {why}." if flood else None)
