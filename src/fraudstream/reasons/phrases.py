"""Numbers and untrusted strings in words, for the sentences of an alert."""

import math
import re
import unicodedata
from collections.abc import Callable
from typing import Final

from fraudstream.features.catalogue import DAY, HALF_LIVES, HOUR
from fraudstream.schema import HUGE

LONGEST_TEXT: Final = 60
"""Maximum number of characters shown of a string."""
_SAME = 0.05
"""Ratios this close to 1 read as "about"."""
_TWO_DIGITS = 10
_NOISE = 1e-9
"""Shares of decayed sums this close to 1 are 1."""
_WORD = r"[^\W_](?:[\w:/'-]|\.(?=\w))*"
_NAME = re.compile(rf"{_WORD}(?: {_WORD}){{0,4}}(?:, [A-Z]{{2,3}})?")
"""A few words, and possibly a country code: `San Juan de Aznalfarache, ES`."""


def shown(text: str) -> str:
    r"""An untrusted string for display: a name unchanged, anything else shortened and in quotation marks.

    >>> shown("iPhone 15"), shown("ok.\nAll clear; dismiss")
    ('iPhone 15', '“ok.�All clear; dismiss”')
    """
    # Categories C and Z: controls, bidirectional overrides, unassigned; separators that imitate a space or a line's end.
    seen = "".join(
        "�" if unicodedata.category(c)[0] in "CZ" and c != " " else c for c in text[: LONGEST_TEXT + 1]
    )
    short = seen if len(seen) <= LONGEST_TEXT else f"{seen[:LONGEST_TEXT]}…"
    return short if _NAME.fullmatch(short) else f"“{short}”"


def named(kind: str, text: str | None) -> str:
    """`merchant m-17`, or `this merchant` if it has no name."""
    return f"{kind} {shown(text)}" if text else f"this {kind}"


def number(value: float, digits: int = 0) -> str:
    """3,204 or 3,204.00."""
    return f"{value:.3g}" if abs(value) >= HUGE else f"{value:,.{digits}f}"


def whole(value: float) -> int:
    """A decayed count, rounded to a whole number."""
    return round(min(max(value, 0.0), HUGE))


def money(value: float, currency: str | None = None) -> str:
    """3,204.00 or 3,204.00 EUR; the currency unchanged."""
    return f"{number(value, 2)} {currency}" if currency else number(value, 2)


def percent(share: float) -> str:
    """A percentage with two significant digits; only all of something is 100 %.

    >>> percent(0.973), percent(0.0249), percent(0.0004), percent(0.997)
    ('97 %', '2.5 %', '0.04 %', '99.7 %')
    """
    of_hundred = 100 * share
    if share < 1 - _NOISE and number(of_hundred) == "100":
        return f"{min(of_hundred, 99.9):.1f} %"
    if of_hundred == 0 or abs(of_hundred) >= _TWO_DIGITS:
        return f"{number(of_hundred)} %"
    return f"{float(f'{of_hundred:.2g}'):g} %"


def telling(one: float, other: float, digits: int) -> int:
    """How many decimals two numbers need, from `digits` on, to read as different ones if they are.

    >>> telling(0.59996, 0.6, 3), telling(0.934, 0.6, 3), telling(0.6, 0.6, 3)
    (5, 3, 3)
    """
    return next((n for n in range(digits, 18) if f"{one:.{n}f}" != f"{other:.{n}f}"), digits)


def times(ratio: float) -> str:
    """A ratio in words, to precede "this customer's usual".

    >>> times(41.3), times(3.42), times(1.02), times(0.12)
    ('41 times', '3.4 times', 'about', 'only 12 % of')
    """
    if ratio > 1 + _SAME:
        return f"{number(ratio, 0 if ratio >= _TWO_DIGITS else 1)} times"
    return f"only {percent(ratio)} of" if ratio < 1 - _SAME else "about"


def duration(seconds: float, rounded: Callable[[float], int] = round) -> str:
    """A time span in the largest unit that fits.

    To the nearest whole number, unless that would make a statement false: `math.floor` if nothing happened in the span,
    `math.ceil` if everything did.

    >>> duration(14), duration(5400), duration(86400)
    ('14 seconds', '2 hours', '1 day')
    >>> duration(5400, math.floor), duration(3601, math.ceil)
    ('1 hour', '2 hours')
    """
    units = (("day", DAY), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))
    unit, length = next((found for found in units if seconds >= found[1]), units[-1])
    # The time of a feature is a logarithm, and may fall just short of a whole number.
    count = rounded(round(seconds / length, 9))
    return f"{count} {unit}{'' if count == 1 else 's'}"


def in_span(decayed: float, usual: float) -> float:
    """What a span brought, from a decayed sum that would be `usual` at the usual pace.

    A steady pace keeps the sum at 1 / ln 2 = 1.44 times what a span brings; a recent burst adds its full size. So the usual
    part is multiplied by ln 2, and the excess is kept whole.

    >>> round(in_span(14.4, 14.4)), round(in_span(9.0, 0.01))
    (10, 9)
    """
    return decayed - (1 - math.log(2)) * min(decayed, usual)


def rate(count: float, *, hourly: bool = False) -> str:
    """The steady rate that keeps a decayed count of 30 days, of 5 or more, constant: λ = s · ln 2 / h.

    >>> rate(300), rate(43), rate(5)
    ('about 7 a day', 'one a day', 'one a week')
    >>> rate(104_000), rate(104_000, hourly=True), rate(300, hourly=True)
    ('about 2,403 a day', 'about 100 an hour', 'about 7 a day')
    >>> rate(1e308)
    'about 2.31e+306 a day'
    """
    a_day = count * (math.log(2) * DAY / HALF_LIVES["30d"])
    if hourly and round(an_hour := a_day * (HOUR / DAY)) > 1:
        return f"about {number(an_hour)} an hour"
    nearly_daily = a_day >= 0.75  # noqa: PLR2004 - nearer to one a day than to several a week
    unit, many = ("day", a_day) if nearly_daily else ("week", 7 * a_day)
    return f"about {number(many)} a {unit}" if round(many) > 1 else f"one a {unit}"
