"""The sentence of an alert: the operator's, with the values of the transaction filled in.

`{user_count_10m}` is replaced by a field or a feature, `{user_count_10m:.0f}` by one with that many digits. It resembles
`str.format` but is restricted: no attributes, no indices, no widths, so neither the file nor a value
can access anything or grow.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fraudstream.rules.columns import columns, refusal
from fraudstream.schema import HUGE

if TYPE_CHECKING:
    from fraudstream.rules.rule import Rule

UNKNOWN = "unknown"
"""Shown instead of a missing value."""
LONGEST_VALUE = 80
"""Maximum number of characters shown of a string."""

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_SLOT = re.compile(r"(?P<name>[A-Za-z]\w*)(?::(?P<form>,?(?:\.[0-6][f%])?))?")


def mistakes(text: str) -> list[tuple[int, str]]:
    """The errors in a reason: the index of the character, and a sentence."""
    found = []
    for part in _PART.finditer(text):
        if part[0] in ("{{", "}}"):
            continue
        at, slot = part.start(), _SLOT.fullmatch(part[1]) if part[1] is not None else None
        if slot is None:
            found.append(
                (at, f"{part[0]} is neither {{name}} nor {{name:.2f}}; a brace itself is written twice")
            )
        elif slot["name"] not in columns():
            found.append((at + 1, refusal(slot["name"])))
        elif slot["form"] and columns()[slot["name"]] != "float":
            found.append((at + 1, f"{slot['name']} is not a number, so :{slot['form']} cannot be applied"))
    return found


def names(text: str) -> tuple[str, ...]:
    """The columns that a reason shows, without duplicates."""
    slots = (_SLOT.fullmatch(part[1]) for part in _PART.finditer(text) if part[1] is not None)
    return tuple(dict.fromkeys(slot["name"] for slot in slots if slot))


def render(rule: "Rule", values: Mapping[str, object]) -> str:
    """The reason of `rule` for one transaction: `values` are its fields and features by name.

    Never raises: a value that is missing or not finite becomes "unknown", a string is shortened
    and its control characters are replaced.

    >>> from fraudstream.rules.rule import Rule
    >>> rule = Rule("pace", "user_count_10m > 5", "{user_count_10m:.0f} payments, now {amount}", "high")
    >>> render(rule, {"user_count_10m": 6.2, "amount": 3204.5})
    '6 payments, now 3,204.50'
    """

    def filled(part: re.Match[str]) -> str:
        if part[0] in ("{{", "}}"):
            return part[0][0]
        slot = _SLOT.fullmatch(part[1]) if part[1] is not None else None
        return part[0] if slot is None else _shown(values.get(slot["name"]), slot["form"] or "")

    return _PART.sub(filled, rule.reason)


def _shown(value: object, form: str) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if isinstance(value, (int, float)):
        try:
            return _number(float(value), form)
        except OverflowError:  # an integer too large for a double
            return UNKNOWN
    if value is None or value == "":
        return UNKNOWN
    text = "".join(c if c.isprintable() else "�" for c in str(value)[: LONGEST_VALUE + 1])
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _number(value: float, form: str) -> str:
    if not math.isfinite(value):
        return UNKNOWN
    if abs(value) >= HUGE:
        return f"{value:.3g}"
    if form:
        return format(value, form)
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"
