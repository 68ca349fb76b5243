"""Sends transactions to Kafka: simulated or replayed, at a rate, with every message accounted for."""

from fraudstream.files import Rejects
from fraudstream.producer.delivery import Report
from fraudstream.producer.pace import FASTEST
from fraudstream.producer.replay import shape
from fraudstream.producer.run import File, Simulation, produce
from fraudstream.producer.sender import Undelivered

__all__ = ["FASTEST", "File", "Rejects", "Report", "Simulation", "Undelivered", "produce", "shape"]
