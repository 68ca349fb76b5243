"""How the scorer runs. A module of its own, as the command line imports it before Spark."""

from enum import StrEnum


class Mode(StrEnum):
    """How Spark runs the stream."""

    REALTIME = "realtime"
    """One long batch of tasks that answer each message as it arrives."""
    MICROBATCH = "microbatch"
    """Many short batches: slower answers, more of them a second, and support for Python."""
