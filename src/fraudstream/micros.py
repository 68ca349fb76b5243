"""Times as whole microseconds since 1970 in UTC: integers do not drift, and sort exactly."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SECOND: Final = 1_000_000
HOUR: Final = 3_600 * SECOND
DAY: Final = 24 * HOUR


class Epoch(StrEnum):
    """The unit of timestamps that are numbers since 1970."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"


def micros(instant: datetime) -> int:
    """The microseconds of a timestamp, exactly, before 1970 too."""
    return (instant - EPOCH) // timedelta(microseconds=1)


def moment(since_epoch: int) -> datetime:
    """The timestamp of these microseconds, exactly, which one from a float of seconds is not."""
    return EPOCH + timedelta(microseconds=since_epoch)
