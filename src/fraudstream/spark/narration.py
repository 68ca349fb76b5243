"""What a consumer logs while it runs: how much it stored, what it could not read, and what profiles leave out."""

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
    """The log lines of one query. `read` messages were counted before it began, as were those of `summary`."""

    def __init__(self, monitor: Monitor, topic: str, read: int, summary: "Summary") -> None:
        self._monitor = monitor
        self._topic = topic
        self._told = (read, summary.rejected, summary.from_future)
        self._warned = False

    def owes(self, summary: "Summary", read: int) -> bool:
        """Whether there are messages to report that could not be read or counted, or, after a warning, others."""
        before, rejected, ahead = self._told
        return summary.rejected > rejected or summary.from_future > ahead or (self._warned and read > before)

    def tell(self, summary: "Summary", read: int, pace: float) -> None:
        """Log what was stored, and how many of the messages since the last line could not be read or counted in profiles.

        If it is most of them, this is a warning, and `/healthz` says so, too, with status 200, as a restart would not help.
        """
        before, told, told_ahead = self._told
        rejected, ahead = summary.rejected - told, summary.from_future - told_ahead
        # Executors report concurrently: a slice may be among the rejects and not yet among the offsets.
        new = max(read - before, rejected, ahead)
        self._told = (read, summary.rejected, summary.from_future)
        line, remarks = f"stored {summary.rows:,} rows of {self._topic}, {pace:,.0f} a second", []
        if rejected:
            share = f"{rejected:,} of the last {new:,} messages of {self._topic} could not be read"
            why = summary.reason[:SHOWN]
            line += f"; {share}, {summary.rejected:,} in all; the latest: {why}"
            remarks += [f"{share}: {why}."] * is_flood(rejected, new)
        if ahead:
            share = (
                f"{ahead:,} of the last {new:,} messages of {self._topic}"
                " are dated more than a day ahead of PostgreSQL's clock"
            )
            line += f"; {share}, {summary.from_future:,} in all: no profile has them"
            remarks += [f"{share}: no profile has them."] * is_flood(ahead, new)
        self._warned = bool(remarks)
        log.log(logging.WARNING if remarks else logging.INFO, "%s", line)
        self._monitor.remark(summary.stream, " ".join(remarks) or None)
