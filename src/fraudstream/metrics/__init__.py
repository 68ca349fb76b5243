"""Health and metrics of a long-running command."""

from fraudstream.metrics.commands import ConsumeMonitor, ProduceMonitor, ScoreMonitor, Sent
from fraudstream.metrics.figures import Figure, Figures
from fraudstream.metrics.monitor import Health, Monitor, Position
from fraudstream.metrics.server import served

__all__ = [
    "ConsumeMonitor",
    "Figure",
    "Figures",
    "Health",
    "Monitor",
    "Position",
    "ProduceMonitor",
    "ScoreMonitor",
    "Sent",
    "served",
]
