"""What a sentence of a feature is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fraudstream.reasons.notable import Notable, always
from fraudstream.reasons.payment import Payment

SPANS: Final = {"10m": "10 minutes", "1h": "hour", "1d": "day", "7d": "7 days", "30d": "30 days"}
Tell = Callable[[float, Payment], str]


@dataclass(frozen=True, slots=True)
class Sentence:
    """How a feature is told, what it is about, and when it is worth telling."""

    theme: str
    tell: Tell
    notable: Notable = always
