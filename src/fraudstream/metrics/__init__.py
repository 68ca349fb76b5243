"""Health and metrics of a long-running command."""

from fraudstream.metrics.commands import ConsumeMonitor, ConvertMonitor, ProduceMonitor, ScoreMonitor, Sent
from fraudstream.metrics.figures import Figure, Figures
from fraudstream.metrics.monitor import Health, Monitor
from fraudstream.metrics.server import served
from fraudstream.metrics.standing import Standing

__all__ = [
    "ConsumeMonitor",
    "ConvertMonitor",
    "Figure",
    "Figures",
    "Health",
    "Monitor",
    "ProduceMonitor",
    "ScoreMonitor",
    "Sent",
    "Standing",
    "served",
]
