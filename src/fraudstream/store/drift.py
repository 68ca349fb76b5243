"""Whether the risks of a day are still those of the training: one rule for `health`, the dashboard and Grafana."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

SHIFTED, ELSEWHERE = 0.1, 0.25
"""Population stability index: below the first nothing happened, beyond the second the model was made for another
world. The usual limits of credit scoring."""
SCATTER = 3.0
"""So many times what few scores make by chance is not scatter."""


class Moved(Enum):
    """How far."""

    NOT = "as in training"
    A_LITTLE = "shifted a little"
    FAR = "no longer those of training"


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a model's risks of a day are from those of its training."""

    day: datetime
    scores: int
    psi: float
    """Population stability index: 0 is the same, beyond 0.25 another world."""
    psi_by_chance: float | None
    """What it would be on average if nothing had changed."""

    @property
    def scatter(self) -> float:
        """The index that chance alone may make of so few scores."""
        return SCATTER * (self.psi_by_chance or 0.0)

    @property
    def moved(self) -> Moved:
        """What the index means, which counts whole once it is more than scatter."""
        if self.psi <= max(SHIFTED, self.scatter):
            return Moved.NOT
        return Moved.FAR if self.psi > ELSEWHERE else Moved.A_LITTLE
