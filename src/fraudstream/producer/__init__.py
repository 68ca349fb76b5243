"""Sends transactions to Kafka: simulated or replayed, at a rate, with every message accounted for."""

from fraudstream.files import Rejects
from fraudstream.producer.delivery import Report
from fraudstream.producer.replay import shape
from fraudstream.producer.run import File, Simulation, produce

__all__ = ["File", "Rejects", "Report", "Simulation", "produce", "shape"]
