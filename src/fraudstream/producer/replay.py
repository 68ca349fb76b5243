"""Replays files: CSV, Parquet or NDJSON, row by row, under the same rules as the topic.

A row that is not a transaction is counted and reported, with its position and the reason; the others are sent.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from fraudstream.cells import NUMBER, as_instant, as_truth, to_text
from fraudstream.decode import Decoder
from fraudstream.files import BadRow, Rejects, Row
from fraudstream.mapping import Shape, malformed, renames
from fraudstream.producer.delivery import Batch
from fraudstream.schema import FIELDS, KINDS, REQUIRED


def shape(texts: Iterable[str], fills: Iterable[str]) -> Shape:
    """Parse `THEIRS=OURS` and `OURS=VALUE` strings. Raises UsageError if one is malformed or names no field of ours."""
    return Shape(FIELDS, REQUIRED, renames(texts, FIELDS), dict(map(_fill, fills)))


def _fill(text: str) -> tuple[str, str]:
    ours, sign, value = text.partition("=")
    if not sign or ours not in FIELDS:
        raise malformed("--fill", text, "OURS=VALUE", FIELDS)
    return ours, value


def replay(path: Path, wanted: Shape, rejects: Rejects) -> Iterator[Batch]:
    """The transactions of a file as messages, in its order; invalid rows go to `rejects`.

    Raises InputError if the file cannot be read at all, or lacks required fields.
    """
    for rows in wanted.portions(path, also=", or give a value for all rows with --fill {}=unknown"):
        yield _batch(rows, wanted, rejects)


def _batch(rows: list[Row], wanted: Shape, rejects: Rejects) -> Batch:
    numbers: list[int] = []
    keys: list[bytes] = []
    values: list[bytes] = []
    found: list[BadRow] = []
    for number, row in rows:
        try:
            if isinstance(row, str):
                raise ValueError(row)  # noqa: TRY004, TRY301 - the handler below counts it
            document = _document(row, wanted)
            value = msgspec.json.encode(document)
            key = str(document.get("user_id", "")).encode()
        except (ValueError, OverflowError, TypeError) as error:
            found.append(BadRow(number, str(error)))
            continue
        numbers.append(number)
        keys.append(key)
        values.append(value)
    decoded = Decoder().decode(values)
    found += [BadRow(numbers[reject.position], reject.reason) for reject in decoded.rejects]
    for number, reason in sorted(found):
        rejects.add(number, reason)
    return Batch([keys[p] for p in decoded.positions], [values[p] for p in decoded.positions])


def _document(row: Mapping[str, Any], wanted: Shape) -> dict[str, Any]:
    """The fields of a message; those that the file lacks are left out."""
    document: dict[str, Any] = {}
    for name in FIELDS:
        value = row.get(wanted.source(name))
        if value is None or value == "":
            value = wanted.filled.get(name, value if name in REQUIRED and value == "" else None)
        if value is not None:
            try:
                document[name] = _CONVERT[KINDS[name]](value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return document


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


def _instant(value: Any) -> str:
    return as_instant(value).isoformat().replace("+00:00", "Z")


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "text": to_text,
    "float": _number,
    "truth": as_truth,
    "instant": _instant,
}
