"""What a sentence of a feature is made of."""

from collections.abc import Callable
from dataclasses import dataclass

from fraudstream.reasons.notable import Notable, always
from fraudstream.reasons.payment import Payment

Tell = Callable[[float, Payment], str]


@dataclass(frozen=True, slots=True)
class Sentence:
    """How a feature is told, what it is about, and when it is worth telling."""

    theme: str
    tell: Tell
    notable: Notable = always
