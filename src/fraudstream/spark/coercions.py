"""Finds what Spark would silently compute otherwise than a condition reads: converted types, and integers that overflow."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from fraudstream.spark.expression_tree import Fault, children, index, kind, type_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Mentions = Mapping[str, Sequence[int]]
"""The columns of a condition, and the index of each mention that it does not cast itself."""

_WITH_NAN: Final = ("float", "double")
"""Types as which the strings `nan` and `inf` are numbers: pandas writes `nan` for a missing value, and Spark's NaN exceeds every
number, so that a rule would match where nothing is known."""
_WITHOUT_NAN: Final = "decimal(20, 2)"
"""The type to read a string as instead: what is not a finite number becomes null, so the rule does not match."""
DATES: Final = ("date", "timestamp", "timestamp_ntz")
_DATED: Final = re.compile(r"\s*\d{4}\s*(-|$)")
"""How a text begins that has a date; `now`, and a time alone, which is one of today, do not."""
_LIMITS: Final = {"tinyint": 1 << 7, "smallint": 1 << 15, "int": 1 << 31, "bigint": 1 << 63}
"""The smallest number that each integer type lacks. With strict mode off, Spark begins again at the other end."""
_FROM_NUMBERS: Final = 1 << 53
"""What a number rounded to a bigint may be: doubles above are not exact, and no amount comes near the type's end."""
_SMALL: Final = dict.fromkeys(
    (*("Hour", "Minute", "DayOfWeek", "WeekDay", "DayOfMonth", "Month", "Year"), *("Length", "StringInstr")),
    10_000,
)
"""Functions with small results: parts of a time, and lengths of strings."""


def silent_casts(spark: "SparkSession", nodes: Sequence[Any], mentions: Mentions) -> list[Fault]:
    """The casts between strings and other types that nobody wrote, and the written ones that give NaN.

    `nodes` are those of a resolved condition.
    """
    casts = spark._jvm.org.apache.spark.sql.catalyst.expressions  # type: ignore[union-attr] # noqa: SLF001 - no other way
    written = getattr(getattr(casts, "Cast$"), "MODULE$").USER_SPECIFIED_CAST()
    found: list[Fault | None] = []
    for node in nodes:
        if kind(node) == "Cast":
            is_written = node.getTagValue(written).isDefined()
            found.append(_from_text(node, mentions, is_written=is_written))
            if not is_written and type_of(node.child()) not in DATES:  # `left(timestamp, 10)` is as it reads
                found.append(_to_text(node, mentions))
        elif kind(node) == "In":
            found += [
                _to_text(child, mentions)
                for child in children(node)
                if kind(child) == "Cast" and not child.getTagValue(written).isDefined()
            ]
    return list(dict.fromkeys(fault for fault in found if fault))


def _to_text(cast: Any, mentions: Mentions) -> Fault | None:
    """Why this implicit cast is an error, or None: as strings, 100.0 is not '100', and 10000000.5 is '1.00000005E7'."""
    child = cast.child()
    if type_of(cast) != "string" or (before := type_of(child)) in ("string", "void"):
        return None
    name = _name(child)
    advice = f"give values of one type, or write cast({name} as string) if you mean it"
    place = _place(cast, name, mentions)
    return Fault(place, f"{name} is of type {before} and is read as string here; {advice}")


def _from_text(cast: Any, mentions: Mentions, *, is_written: bool) -> Fault | None:
    """Why this cast of a string is an error, or None."""
    child, target = cast.child(), type_of(cast)
    if type_of(child) != "string" or target == "string":
        return None
    if kind(child) == "Literal":
        return _from_literal(cast, target)
    if target in DATES and child.foldable():
        return Fault(index(child), f"this is read as {target}; write the date as one string")
    name, with_nan = _name(child), target in _WITH_NAN
    advice = f"write cast({name} as {_WITHOUT_NAN if with_nan else target})"
    if not is_written:
        place = _place(cast, name, mentions)
        return Fault(place, f"{name} is a string and is read as {target} here; {advice} if you mean it")
    if with_nan:
        place = index(cast if name in mentions else child)  # a column has lost its own by now
        return Fault(place, f"a string read as {target} may be NaN or infinite; {advice}")
    return None


def _from_literal(cast: Any, target: str) -> Fault | None:
    """Why this cast of a literal string is an error, or None."""
    literal, value = cast.child(), cast.eval(None)
    if value is None:
        return Fault(index(literal), f"{literal.toString()!r:.40} is not a {target}, so this is never true")
    if target in _WITH_NAN and not math.isfinite(value):
        return Fault(index(literal), f"{literal.toString()!r:.40} is not a finite number")
    return undated(index(literal), literal.toString()) if target in DATES else None


def undated(place: int, text: str) -> Fault | None:
    """Why this text is not allowed as a date or time, or None. Without a date, Spark takes it from the clock."""
    if _DATED.match(text):
        return None
    return Fault(
        place, f"{text!r:.40} has no date, so it depends on the clock; write one, as in '2026-01-31 09:00'"
    )


def _name(node: Any) -> str:
    """What to call a node in a message."""
    if kind(node) == "AttributeReference":
        return str(node.name())
    return str(node.toString()) if kind(node) == "Literal" else "…"


def _place(cast: Any, name: str, mentions: Mentions) -> int:
    """The index of what an implicit cast is about. Its own is that of the operator, which may follow the column."""
    at = index(cast)
    nearest = min(mentions.get(name, ()), key=lambda mention: abs(mention - at), default=None)
    return nearest if nearest is not None else index(cast.child()) or at


def overflows(root: Any) -> list[Fault]:
    """The integers in a resolved condition that may leave their type's range, and would match by what they become."""
    found: list[Fault] = []
    _largest(root, found)
    return found


def _largest(node: Any, found: list[Fault]) -> int:
    """An upper bound of a node's absolute value; 0 if it is no integer. Adds to `found` where it exceeds the type."""
    parts = [_largest(child, found) for child in children(node)]
    limit, what = _LIMITS.get(type_of(node)), kind(node)
    if limit is None:
        return 0
    if what == "Literal":
        return abs(int(node.value() or 0))
    bound = max(parts, default=0)
    if what in ("Add", "Subtract"):
        bound = sum(parts)
    elif what == "Multiply":
        bound = math.prod(parts)
    elif what == "Remainder":
        bound = min(parts)
    elif what in _SMALL:
        bound = _SMALL[what]
    elif (
        not bound
    ):  # from other types: Spark ends at the largest int and bigint, and begins again in smaller types
        bound = min(limit - 1, _FROM_NUMBERS) if limit >= _LIMITS["int"] else limit
    if bound < limit:
        return bound
    found.append(
        Fault(
            index(node),
            f"may exceed the largest {type_of(node)}, {limit - 1:,}; calculate with 1.0 instead of 1",
        )
    )
    return limit - 1
