"""Replays files: CSV, Parquet or NDJSON, row by row, under the same rules as the topic.

A row that is not a transaction is counted and reported, with its position and the reason; the others are sent.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from fraudstream.decode import Decoder
from fraudstream.errors import UsageError
from fraudstream.files import BadRow, Rejects, Row
from fraudstream.mapping import Shape, malformed, renames
from fraudstream.micros import Epoch
from fraudstream.producer.delivery import Batch
from fraudstream.producer.fields import document
from fraudstream.schema import FIELDS, REQUIRED


def shape(texts: Iterable[str], fills: Iterable[str]) -> Shape:
    """Parse `THEIRS=OURS` and `OURS=VALUE` strings. Raises UsageError if one is malformed or names no field of ours."""
    return Shape(FIELDS, REQUIRED, renames(texts, FIELDS), fillings(fills))


def fillings(texts: Iterable[str]) -> dict[str, str]:
    """Parse `OURS=VALUE` strings. Raises UsageError if one is malformed, names no field of ours, or one that another names."""
    filled: dict[str, str] = {}
    for ours, value in map(_fill, texts):
        if ours in filled:
            raise UsageError(f"--fill gives {ours} twice.", hint="Keep one of them.")
        filled[ours] = value
    return filled


def _fill(text: str) -> tuple[str, str]:
    ours, sign, value = text.partition("=")
    if not sign or ours not in FIELDS:
        raise malformed("--fill", text, "OURS=VALUE", FIELDS)
    return ours, value


def replay(path: Path, wanted: Shape, rejects: Rejects, epoch: Epoch | None = None) -> Iterator[Batch]:
    """The transactions of a file as messages, in its order; invalid rows go to `rejects`.

    `epoch` is the unit of its timestamps if they are numbers. Raises InputError if the file cannot be read at all, or lacks required fields.
    """
    for rows in wanted.portions(path, also=", or give a value for all rows with --fill {}=unknown"):
        yield _batch(rows, wanted, rejects, epoch)


def _batch(rows: list[Row], wanted: Shape, rejects: Rejects, epoch: Epoch | None) -> Batch:
    numbers: list[int] = []
    keys: list[bytes] = []
    values: list[bytes] = []
    found: list[BadRow] = []
    for number, row in rows:
        try:
            if isinstance(row, str):
                raise ValueError(row)  # noqa: TRY004, TRY301 - the handler below counts it
            named = {name: row.get(wanted.source(name)) for name in FIELDS}
            fields = document(named.get, wanted.filled, epoch)
            value = msgspec.json.encode(fields)
            key = str(fields.get("user_id", "")).encode()
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
