"""What a long command tells of itself while it runs: figures for Prometheus, and whether it is well."""

from fraudstream.metrics.figures import Figure, Figures
from fraudstream.metrics.monitor import Health, Judging, Monitor, Position, Sending, Sent, Storing
from fraudstream.metrics.server import served

__all__ = [
    "Figure",
    "Figures",
    "Health",
    "Judging",
    "Monitor",
    "Position",
    "Sending",
    "Sent",
    "Storing",
    "served",
]
