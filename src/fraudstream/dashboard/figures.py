"""Formats for numbers, times and untrusted strings on the pages."""

import html
import math
import re
from datetime import UTC, datetime

from fraudstream.schema import HUGE

UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k"))
"""Numbers below 10,000 are short enough without a unit."""
NOTHING = "\u2013"
"""Shown if there is no value."""
CODE = re.compile(r"[A-Z]{3}")
_FORMULA = ("=", "+", "-", "@")
"""Characters that start a formula in a spreadsheet."""


def count(number: float) -> str:
    """A whole number with separators: 1,234,567."""
    return f"{number:,.0f}"


def short(number: float) -> str:
    """A large number in three digits: 1.23 M."""
    size = abs(number)
    for unit, name in UNITS:
        if HUGE > size >= unit:
            scaled = number / (1e3 if name == "k" else unit)
            return f"{scaled:,.{max(0, 2 - int(math.log10(abs(scaled))))}f} {name}"
    return f"{number:.3g}" if size >= HUGE else f"{number:,.0f}"


def amount(value: float, currency: str | None = None) -> str:
    """Money: 3,204.00 EUR. Without a three-letter currency code, the number alone."""
    number = f"{value:.3e}" if abs(value) >= HUGE else f"{value:,.2f}"
    return f"{number} {currency}" if currency and CODE.fullmatch(currency) else number


def share(value: float | None, digits: int = 1) -> str:
    """A part of a whole; a dash if there is no value. Only all of something is 100 %.

    >>> share(0.123), share(0.9997), share(1), share(0.997, 0)
    ('12.3 %', '99.9 %', '100.0 %', '99 %')
    """
    if value is None:
        return NOTHING
    most = math.inf if value >= 1 else 100 - 10**-digits
    return f"{min(value * 100, most):.{digits}f} %"


def figure(value: float | None) -> str:
    """A metric of a model between 0 and 1: 0.694."""
    return NOTHING if value is None else f"{value:.3f}"


def change(now: float, before: float) -> str | None:
    """Change from the preceding period: +12 % on the period before; None if it was empty."""
    if not before:
        return None
    percent = round((now - before) / before * 100)
    return f"{percent:+,} % on the period before" if percent else "same as the period before"


def instant(moment: datetime, *, seconds: bool = True) -> str:
    """A time in UTC, without the zone, which each page states once."""
    text = moment.astimezone(UTC).isoformat(sep=" ", timespec="seconds" if seconds else "minutes")
    return text.removesuffix("+00:00")


def iso(moment: datetime) -> str:
    """A time for a chart: ISO 8601 in UTC, which also works for years that pandas cannot represent."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def escaped(text: object) -> str:
    """An untrusted string, escaped for HTML."""
    return html.escape(str(text), quote=True)


def typed(text: str) -> str:
    """A string from a field or an address, without what PostgreSQL cannot store: NUL and lone surrogates."""
    return text.encode(errors="ignore").decode().replace("\x00", "").strip()


def plain(text: str) -> str:
    """An untrusted string, escaped for Markdown, which Streamlit interprets in labels.

    A backslash escapes every punctuation character; line breaks become spaces. Streamlit looks for emoji codes after
    that, so an invisible joiner (U+2060) separates a colon from what follows.
    """
    one_line = " ".join(text.split())
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", one_line).replace(":", ":\u2060")


def cell(text: str | None) -> str:
    """An untrusted string for a table, which may be saved as CSV: no spreadsheet takes it for a formula."""
    return f"\u2060{text}" if text and text.lstrip().startswith(_FORMULA) else text or ""
