"""The parts of a feature's sentence."""

from collections.abc import Callable
from dataclasses import dataclass

from fraudstream.reasons.notable import Notable, always
from fraudstream.reasons.payment import Payment

Tell = Callable[[float, Payment], str]


@dataclass(frozen=True, slots=True)
class Sentence:
    """How a feature is described, its theme, and when it is worth mentioning."""

    theme: str
    tell: Tell
    notable: Notable = always
