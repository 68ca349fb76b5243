"""Where a stream stands: the one description for monitoring, for PostgreSQL, and for the rate between two reports."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """The progress of a stream in a topic, by partition."""

    topic: str
    reached: Mapping[int, int]
    """The first message of each partition that was not processed."""
    ends: Mapping[int, int]
    rows_per_second: float
    """Since the last report."""

    def end(self, partition: int) -> int:
        """The end of a partition. It was read a moment ago, and the stream may have passed it since."""
        reached = self.reached[partition]
        return max(self.ends.get(partition, reached), reached)

    def lag(self, partition: int) -> int:
        """Messages waiting.

        >>> standing = Standing("t", {0: 10, 1: 10, 2: 10}, {0: 25, 1: 9}, 0.0)
        >>> [standing.lag(partition) for partition in standing.reached]
        [15, 0, 0]
        """
        return self.end(partition) - self.reached[partition]

    def later(self, reached: Mapping[int, int], ends: Mapping[int, int], seconds: float) -> "Standing":
        """The progress some time later, with the rate since. A new partition counts from its start offset.

        >>> before = Standing("t", {0: 10}, {0: 10}, 0.0)
        >>> before.later({0: 25, 1: 4_000}, {0: 30, 1: 4_000}, 10.0).rows_per_second
        1.5
        """
        done = sum(offset - self.reached.get(partition, offset) for partition, offset in reached.items())
        return Standing(self.topic, reached, ends, done / seconds)
