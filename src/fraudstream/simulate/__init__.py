"""A realistic world of customers, merchants and fraud: pure, seeded, vectorised.

`World` is the population; `Stream` is the events, in order of time; `Encoder` writes them as messages.
"""

from fraudstream.simulate.encode import Encoder
from fraudstream.simulate.events import Events
from fraudstream.simulate.scenarios import SCENARIOS
from fraudstream.simulate.stream import Stream
from fraudstream.simulate.world import World

__all__ = [
    "SCENARIOS",
    "Encoder",
    "Events",
    "Stream",
    "World",
]
