"""How many messages a micro-batch of the consumer may hold: as many as PostgreSQL stores in good time.

A batch is a transaction in each partition. One that takes minutes, as the database has become slow, is lost whole when
something falls, and everything that waits for its rows waits as long.
"""

from typing import Final

from fraudstream.errors import StreamError

FEWEST: Final = 1_000
"""Below that a batch takes as long as what every batch costs, whatever its size."""
IDLE: Final = 4
"""A full batch that took less than this part of the time may grow, by so many times at most."""
AIM: Final = 2
"""A new size aims at this part of the time: far enough from both ends not to change with every batch."""


class Resized(StreamError):
    """The query ends, its last batch stored, and begins again with batches of another size: Spark fixes it at the start."""

    code = "resized"


class BatchSize:
    """Follows the sink, between FEWEST and `most` messages, so that a batch takes no longer than `seconds`."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self.limit = most
        """Messages of the next batch, over all partitions."""

    def follow(self, messages: int, seconds: float) -> None:
        """Learn from a batch that was stored, which took more than no time. Raises Resized where the next ones should be larger or smaller."""
        too_long = seconds > self._seconds
        could_grow = messages * 2 > self.limit and seconds * IDLE < self._seconds
        if not messages or not (too_long or could_grow):
            return
        wanted = int(messages * min(self._seconds / AIM / seconds, IDLE))
        # A setting below FEWEST is somebody's wish, and no lower bound may lift it.
        limit = min(max(wanted, FEWEST), self._most)
        if limit < self.limit if too_long else limit > self.limit:
            self.limit = limit
            raise Resized(
                f"A micro-batch of {messages:,} messages took {seconds:.1f} s: the next ones hold {limit:,} at most."
            )
