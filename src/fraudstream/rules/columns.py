"""The columns that a rule may use: the fields of a transaction and every feature, by name."""

import difflib
from functools import cache
from typing import Literal

from fraudstream.schema import FIELDS, KINDS, PERSONAL, TRUTH

Kind = Literal["text", "instant", "float"]


@cache
def columns() -> dict[str, Kind]:
    """Every column that a rule may use, and its type: fields first, then features."""
    from fraudstream.features.definitions import FEATURES

    found: dict[str, Kind] = {}
    for name in FIELDS:
        kind = KINDS[name]
        if name not in PERSONAL | TRUTH and kind != "truth":
            found[name] = kind
    return found | dict.fromkeys(FEATURES, "float")


def refusal(name: str) -> str:
    """Why a rule may not use this column, in a sentence."""
    if name.lower() in PERSONAL:
        return f"{name} is personal: names and e-mail addresses never leave the transactions tables, so rules cannot use them"
    if name.lower() in TRUTH:
        return f"{name} is the truth that a decision has to predict, so rules cannot use it"
    close = difflib.get_close_matches(name.lower(), columns(), n=1)
    return f"there is no column {name}" + (f"; did you mean {close[0]}?" if close else "")
