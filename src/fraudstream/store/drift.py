"""Whether a day's risks are still distributed as in training: one rule for `health`, the dashboard and Grafana."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

SHIFTED, ELSEWHERE = 0.1, 0.25
"""Population stability index: up to the first there is no drift, beyond the second the model no longer fits. The usual limits
in credit scoring."""
SCATTER = 3.0
"""Multiple of the index expected by chance beyond which it is not sampling noise."""


class Moved(Enum):
    """How far."""

    NOT = "as in training"
    A_LITTLE = "shifted a little"
    FAR = "no longer as in training"


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a model's risks on a day are from those in its training."""

    day: datetime
    scores: int
    psi: float
    """Population stability index: 0 is no change, beyond 0.25 the model no longer fits."""
    psi_by_chance: float | None
    """The average index if nothing had changed."""

    @property
    def scatter(self) -> float:
        """The largest index that so few scores reach by chance."""
        return SCATTER * (self.psi_by_chance or 0.0)

    @property
    def moved(self) -> Moved:
        """What the index means; within the scatter it means no drift."""
        if self.psi <= max(SHIFTED, self.scatter):
            return Moved.NOT
        return Moved.FAR if self.psi > ELSEWHERE else Moved.A_LITTLE
