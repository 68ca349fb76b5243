"""What a rule may look at: the fields of a transaction and every feature, by name."""

import difflib
from functools import cache
from typing import Literal

from fraudstream.schema import FIELDS, KINDS, PERSONAL, TRUTH

Kind = Literal["text", "instant", "float"]


@cache
def columns() -> dict[str, Kind]:
    """Every column that a rule may name, and what it holds: fields first, then features."""
    from fraudstream.features.definitions import FEATURES

    found: dict[str, Kind] = {}
    for name in FIELDS:
        kind = KINDS[name]
        if name not in PERSONAL | TRUTH and kind != "truth":
            found[name] = kind
    return found | dict.fromkeys(FEATURES, "float")


def refusal(name: str) -> str:
    """Why a rule may not name this column, in a sentence."""
    if name.lower() in PERSONAL:
        return f"{name} is personal: names and e-mail never leave the table of transactions, so no rule sees them"
    if name.lower() in TRUTH:
        return f"{name} is the truth that a decision has to find out, so no rule sees it"
    close = difflib.get_close_matches(name.lower(), columns(), n=1)
    return f"there is no column {name}" + (f"; did you mean {close[0]}?" if close else "")
