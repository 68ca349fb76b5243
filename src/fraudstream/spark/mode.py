"""How the scorer runs. Apart, as the command line reads it before Spark is loaded."""

from enum import StrEnum


class Mode(StrEnum):
    """How Spark runs the stream."""

    REALTIME = "realtime"
    """One long batch of tasks that answer each message as it comes."""
    MICROBATCH = "microbatch"
    """One short batch after the other: slower answers, more of them a second, and room for Python."""
