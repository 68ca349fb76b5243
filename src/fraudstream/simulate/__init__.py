"""A believable world of customers, merchants and fraud: pure, seeded, vectorised.

`World` is who and where; `Stream` is what happens, in order of time; `Encoder` writes it as messages.
"""

from fraudstream.simulate.encode import Encoder
from fraudstream.simulate.events import DAY, SECOND, Events
from fraudstream.simulate.scenarios import SCENARIOS, Scenario
from fraudstream.simulate.stream import Stream
from fraudstream.simulate.world import World

__all__ = [
    "DAY",
    "SCENARIOS",
    "SECOND",
    "Encoder",
    "Events",
    "Scenario",
    "Stream",
    "World",
]
