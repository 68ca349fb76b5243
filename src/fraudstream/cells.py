"""What the cells of a file mean: identifiers, truths and instants in the spellings of those who write files."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from fraudstream.schema import parse_instant

TRUTHS = {"1": 1, "true": 1, "t": 1, "yes": 1, "y": 1, "0": 0, "false": 0, "f": 0, "no": 0, "n": 0}
"""How files write what is true, whatever the case."""


def as_text(value: Any) -> Any:
    """An identifier or a name: a whole number is its digits; anything else that is no string stays as it is."""
    if isinstance(value, (int, Decimal, UUID)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        # Readers of tables make floats of whole numbers where one is missing.
        return str(int(value)) if value.is_integer() else repr(value)
    return value


def as_truth(value: Any) -> Any:
    """0 or 1 where `value` means one of them in the usual spellings; anything else stays as it is."""
    if isinstance(value, str):
        return TRUTHS.get(value.strip().lower(), value)
    # 0 and 1 as the topic has them; another number stays as it is and is refused.
    return int(value) if isinstance(value, (bool, int, float, Decimal)) and value in (0, 1) else value


def as_instant(value: Any) -> datetime:
    """An instant in UTC; a date is its first moment. Raises ValueError where `value` is none."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    return parse_instant(value)
