"""Values of other formats as the fields of a message: identifiers that are numbers, amounts that are text, other times."""

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, DecimalException, Overflow
from typing import Any, Final

from fraudstream.cells import NUMBER, as_instant, as_truth, to_text
from fraudstream.micros import SECOND, Epoch, micros, moment
from fraudstream.schema import FIELDS, FIRST_INSTANT, KINDS, LAST_INSTANT, REQUIRED

_MICROS: Final = {Epoch.SECONDS: SECOND, Epoch.MILLISECONDS: 1_000, Epoch.MICROSECONDS: 1}


def document(
    find: Callable[[str], Any], filled: Mapping[str, str], epoch: Epoch | None = None
) -> dict[str, Any]:
    """The fields of a message, from the value that `find` gives for each field; those without one are `filled`, or left out.

    Raises ValueError with the field and the reason for a value that cannot be one.
    """
    found: dict[str, Any] = {}
    for name in FIELDS:
        value = find(name)
        if value is None or value == "":
            value = filled.get(name, value if name in REQUIRED and value == "" else None)
        if value is not None:
            kind = KINDS[name]
            try:
                found[name] = _instant(value, epoch) if kind == "instant" else _PLAIN[kind](value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return found


def _number(value: Any) -> Any:
    if isinstance(value, str):
        if not re.fullmatch(NUMBER, value.strip()):
            raise ValueError("not a number")
        value = float(value)
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _instant(value: Any, epoch: Epoch | None) -> str:
    instant = as_instant(value) if epoch is None else moment(_since_epoch(value, epoch))
    return instant.isoformat().replace("+00:00", "Z")


def _since_epoch(value: Any, epoch: Epoch) -> int:
    """Microseconds since 1970, rounded. Through Decimal: a float of microseconds would have lost some."""
    try:
        exact = Decimal(_digits(value)) * _MICROS[epoch]
        # Compared first: an integer of 1e999999999 would fill the memory.
        years = micros(FIRST_INSTANT) <= exact <= micros(LAST_INSTANT)
    except Overflow:
        years = False
    except (DecimalException, TypeError, ValueError):
        raise ValueError(f"not a number of {epoch.name.lower()} since 1970") from None
    if not years:
        raise ValueError("outside the years 1 to 9999 in UTC")
    return min(round(exact), micros(LAST_INSTANT))


def _digits(value: Any) -> Any:
    """What Decimal takes as exactly this number. Raises ValueError for what is none."""
    if isinstance(value, bool) or (isinstance(value, str) and not re.fullmatch(NUMBER, value.strip())):
        raise ValueError("not a number")
    return repr(value) if isinstance(value, float) else value


_PLAIN: Final[Mapping[str, Callable[[Any], Any]]] = {"text": to_text, "float": _number, "truth": as_truth}
