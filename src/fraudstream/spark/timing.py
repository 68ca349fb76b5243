"""How long a query of the scorer decides, and when its successor starts: pure functions of what was measured."""

from typing import Final

GRACE_SECONDS: Final = 1.0
"""Seconds for which a query's tasks run before its predecessor is stopped, as they connect to Kafka first."""
FACTOR: Final = 1.5
"""A successor may take this many times as long to start as its predecessor: other work on the machine comes and goes."""
FIRST_FACTOR: Final = 6.0
"""The same for the first one: nothing had to run beside the first query while that started. Next to a consumer on two
cores it took 23 to 28 s after 6 to 9 s; with a factor of 4, decisions waited 1 to 5 s for it, once per start."""
BUILDING_SHARE: Final = 0.3
"""Share of building in the time until a query's tasks run. Its batch needs a length before the rest can be measured."""
LONGEST_LEAD: Final = 0.7
"""A query decides alone for at least the rest of its batch before its successor is started."""


def lead(preparing_seconds: float, *, first: bool) -> float:
    """Seconds before the end of a batch at which a successor starts that takes so long to read, build and start.

    It must answer before that batch ends, or messages wait while Spark plans another batch of the same query.

    >>> lead(2.0, first=False), lead(2.0, first=True)
    (4.0, 13.0)
    """
    return GRACE_SECONDS + preparing_seconds * (FIRST_FACTOR if first else FACTOR)


def batch_seconds(trigger_seconds: float, lead_seconds: float, longest_seconds: float) -> float:
    """Length of a batch: the trigger, or what such a lead needs if that is longer, but no more than the longest.

    A busy machine then decides by profiles of up to a minute ago; otherwise, decisions wait for seconds at each hand-over.

    >>> batch_seconds(10.0, 5.5, 60.0), batch_seconds(10.0, 14.0, 60.0), batch_seconds(10.0, 90.0, 60.0)
    (10.0, 20.0, 60.0)
    """
    return max(trigger_seconds, min(lead_seconds / LONGEST_LEAD, longest_seconds))


def is_time(running_seconds: float, batch_seconds: float, lead_seconds: float) -> bool:
    """Whether a successor with this lead is to start, now that the batch has run for so long.

    >>> is_time(5.0, 10.0, 4.0), is_time(6.5, 10.0, 4.0), is_time(2.0, 10.0, 90.0), is_time(3.5, 10.0, 90.0)
    (False, True, False, True)
    """
    return running_seconds > batch_seconds - min(lead_seconds, LONGEST_LEAD * batch_seconds)
