"""The size of the consumer's micro-batches: as many messages as PostgreSQL stores within a time limit.

A batch is a transaction in each partition. One that takes minutes, as the database has become slow, is lost completely
by a failure, and delays everything that waits for its rows.
"""

from typing import Final

from fraudstream.errors import StreamError

FIRST: Final = 20_000
"""Size of a stream's first batch. How fast PostgreSQL is shows only in a stored one: a stream that monitoring takes for dead
in the middle of a large one, and that a supervisor restarts, would begin with the same one again, for ever."""
FEWEST: Final = 1_000
"""Below this size, the fixed cost of a batch dominates."""
IDLE: Final = 4
"""A full batch that took less than this fraction of the time may grow, at most by this factor."""
AIM: Final = 2
"""A new size aims at this fraction of the time: far enough from both limits not to change with every batch."""


class Resized(StreamError):
    """Ends the query after its last batch was stored, to restart with another batch size, which Spark fixes at the start."""

    code = "resized"


class BatchSize:
    """Adapts the batch size, between FEWEST and `most` messages, so that a batch takes no longer than `seconds`."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self.limit = min(FIRST, most)
        """Messages of the next batch, over all partitions."""

    def follow(self, messages: int, seconds: float) -> None:
        """Learn from a stored batch; `seconds` is positive. Raises Resized if the next ones should be larger or smaller."""
        too_long = seconds > self._seconds
        could_grow = messages * 2 > self.limit and seconds * IDLE < self._seconds
        if not messages or not (too_long or could_grow):
            return
        wanted = int(messages * min(self._seconds / AIM / seconds, IDLE))
        # A setting below FEWEST is deliberate, so the lower bound must not raise it.
        limit = min(max(wanted, FEWEST), self._most)
        if limit < self.limit if too_long else limit > self.limit:
            self.limit = limit
            raise Resized(
                f"A micro-batch of {messages:,} messages took {seconds:.1f} s: the next ones will have {limit:,} at most."
            )
