"""Values of cells in files: identifiers, booleans and timestamps in the spellings common in files."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from fraudstream.schema import parse_instant

TRUTHS = {
    "1": 1, "1.0": 1, "true": 1, "t": 1, "yes": 1, "y": 1, "0": 0, "0.0": 0, "false": 0, "f": 0, "no": 0, "n": 0,
}  # fmt: skip
"""Common spellings of a boolean, in lower case, and those in a column of numbers with gaps."""
NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
"""A number in a text, for Python and for Arrow: Python's `float` also takes underscores and the digits of other scripts."""

EXACT = 2.0**53
"""From here on floats skip whole numbers, so several identifiers may have become this one."""
INEXACT = "a float of 2**53 or more, which may have lost digits: store identifiers as strings"


def to_text(value: Any) -> str:
    """An identifier or a name. Raises ValueError for what is neither a string nor a finite number, or a float from EXACT on.

    JSON would encode NaN as null, which is valid for optional fields, and bytes and durations as strings.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (int, UUID)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Decimal) and value.is_finite():
        # Databases export whole numbers with the digits of their column's scale: 17.0000000000.
        return str(int(value)) if value == value.to_integral_value() else format(value.normalize(), "f")
    if not isinstance(value, float):
        raise ValueError(f"not a string but {type(value).__name__}")  # noqa: TRY004 - the caller counts it
    if not math.isfinite(value):
        raise ValueError(f"not a string but {value}")
    if abs(value) >= EXACT:
        raise ValueError(f"not a string but {value}, {INEXACT}")
    # Table readers convert a column of whole numbers to floats if one is missing.
    return str(int(value)) if value.is_integer() else repr(value)


def as_truth(value: Any) -> Any:
    """0 or 1 if `value` is a common spelling of a boolean; any other value is unchanged."""
    if isinstance(value, str):
        return TRUTHS.get(value.strip().lower(), value)
    # 0 and 1 as in the topic; any other number is unchanged and will be refused.
    return int(value) if isinstance(value, (bool, int, float, Decimal)) and value in (0, 1) else value


def as_instant(value: Any) -> datetime:
    """A timestamp in UTC; a date becomes its midnight. Raises ValueError if `value` is neither."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    return parse_instant(value)
