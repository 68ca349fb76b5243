"""How numbers, times and untrusted strings are written on the pages."""

import html
import math
import re
from datetime import UTC, datetime

UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k"))
"""Below ten thousand a number is short enough as it is."""
MOST_PLAIN = 1e15
"""Larger amounts are no money; sixteen digits would break every layout."""
NOTHING = "\u2013"
"""A dash, where nothing can be said."""
CODE = re.compile(r"[A-Z]{3}")
_FORMULA = ("=", "+", "-", "@")
"""What a cell begins with that a spreadsheet works out."""


def count(number: float) -> str:
    """A whole number with separators: 1,234,567."""
    return f"{number:,.0f}"


def short(number: float) -> str:
    """A large number in three digits: 1.23 M."""
    size = abs(number)
    for unit, name in UNITS:
        if MOST_PLAIN > size >= unit:
            scaled = number / (1e3 if name == "k" else unit)
            return f"{scaled:,.{max(0, 2 - int(math.log10(abs(scaled))))}f} {name}"
    return f"{number:.3g}" if size >= MOST_PLAIN else f"{number:,.0f}"


def amount(value: float, currency: str | None = None) -> str:
    """Money: 3,204.00 EUR. Without a currency, or with one that is no code of three letters, the number alone."""
    number = f"{value:.3e}" if abs(value) >= MOST_PLAIN else f"{value:,.2f}"
    return f"{number} {currency}" if currency and CODE.fullmatch(currency) else number


def share(value: float | None, digits: int = 1) -> str:
    """A part of a whole: 12.3 %; a dash where nothing can be said."""
    return NOTHING if value is None else f"{value * 100:.{digits}f} %"


def figure(value: float | None) -> str:
    """A figure of a model between 0 and 1, as the field writes it: 0.694."""
    return NOTHING if value is None else f"{value:.3f}"


def change(now: float, before: float) -> str | None:
    """Against as long a time before: +12 % on the period before; None where there was nothing."""
    if not before:
        return None
    percent = round((now - before) / before * 100)
    return f"{percent:+,} % on the period before" if percent else "as in the period before"


def instant(moment: datetime, *, seconds: bool = True) -> str:
    """A moment in UTC; the page says once that it is."""
    text = moment.astimezone(UTC).isoformat(sep=" ", timespec="seconds" if seconds else "minutes")
    return text.removesuffix("+00:00")


def iso(moment: datetime) -> str:
    """A moment for a chart: ISO 8601 in UTC, for years that pandas cannot hold, too."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(seconds: float) -> str:
    """How long something is past: 4 s, 12 min, 3 h, 5 days."""
    for unit, name in ((86_400.0, "days"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"


def escaped(text: object) -> str:
    """An untrusted string inside HTML: shown, never obeyed."""
    return html.escape(str(text), quote=True)


def typed(text: str) -> str:
    """A text from a field or an address, without what no table can hold: NUL, and halves of a pair of surrogates."""
    return text.encode(errors="ignore").decode().replace("\x00", "").strip()


def plain(text: str) -> str:
    """An untrusted string where Streamlit reads Markdown, as in labels: shown, never obeyed.

    A backslash takes every sign its meaning; line breaks become spaces. Emoji codes are looked for after that, so an
    invisible joiner (U+2060) parts a colon from what follows.
    """
    one_line = " ".join(text.split())
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", one_line).replace(":", ":\u2060")


def cell(text: str | None) -> str:
    """A stranger's text in a table, which may be saved as CSV: no spreadsheet takes it for a formula."""
    return f"\u2060{text}" if text and text.lstrip().startswith(_FORMULA) else text or ""
