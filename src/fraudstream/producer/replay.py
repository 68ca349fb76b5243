"""Files replayed: CSV, Parquet or NDJSON, row by row, under the same law as the topic.

A row that is no transaction is counted and told, with its place and the reason; its neighbours are sent.
"""

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from fraudstream.decode import Decoder
from fraudstream.errors import InputError
from fraudstream.producer.delivery import Batch
from fraudstream.schema import FIELDS, KINDS, REQUIRED, parse_instant

ROWS = 4_096
"""Rows that are read, checked and sent together: memory stays the same however long the file is."""
TOLD = 5
"""Rejected rows that are told one by one; the others are counted."""
LOOKED_AT = 1_000
"""Lines of NDJSON in which a required field must appear at least once; JSON has no header to ask."""
LONGEST_LINE = 1_048_576
"""Bytes of a line: more is no transaction, and a file without line ends must not fill the memory."""
_TRUTHS = {"1": 1, "true": 1, "t": 1, "yes": 1, "y": 1, "0": 0, "false": 0, "f": 0, "no": 0, "n": 0}

Row = tuple[int, Mapping[str, Any] | str]
"""Number of a row from 1, and its fields, or why it cannot be read."""


@dataclass(slots=True)
class Rejects:
    """Rows that are no transactions."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, reason: str) -> None:
        """Count one, and keep the first ones."""
        self.count += 1
        if len(self.first) < TOLD:
            self.first.append((number, reason))

    def document(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "rejected": self.count,
            "rejected_rows": [{"row": number, "reason": reason} for number, reason in self.first],
        }


@dataclass(frozen=True, slots=True)
class Shape:
    """How the columns of a file become our fields."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    """Our field → their column."""
    filled: Mapping[str, str] = field(default_factory=dict)
    """Our field → the value where the file has none."""

    def source(self, name: str) -> str:
        """The column from which a field is read."""
        return self.renamed.get(name, name)

    def missing(self, columns: Iterable[str]) -> list[str]:
        """Required fields that these columns do not give."""
        have = set(columns)
        return [n for n in REQUIRED if self.source(n) not in have and n not in self.filled]


def shape(renames: Iterable[str], fills: Iterable[str]) -> Shape:
    """From `their=ours` and `ours=value` texts. Raises InputError where one is none or names no field of ours."""
    renamed: dict[str, str] = {}
    for text in renames:
        theirs, ours = _pair(text, "--map", "their=ours", right=True)
        if ours in renamed:
            raise InputError(f"--map gives {ours} twice.", hint="Keep one of them.")
        renamed[ours] = theirs
    return Shape(renamed, dict(_pair(text, "--fill", "ours=value", right=False) for text in fills))


def _pair(text: str, option: str, form: str, *, right: bool) -> tuple[str, str]:
    # A column's name may hold an equals sign, ours do not; a value may, too.
    left, sign, rest = text.rpartition("=") if right else text.partition("=")
    ours = rest if right else left
    if not sign or not left or ours not in FIELDS:
        raise InputError(
            f"{option} {text!r} does not have the form {form} with a field of ours.",
            hint=f"Our fields are {', '.join(FIELDS)}.",
        )
    return left, rest


def replay(path: Path, wanted: Shape, rejects: Rejects) -> Iterator[Batch]:
    """The transactions of a file as messages, in its order; what is none goes to `rejects`.

    Raises InputError where the file cannot be read at all, or lacks required fields.
    """
    readers: dict[str, Callable[[Path, Shape], Iterator[Row]]] = {
        ".csv": _csv,
        ".tsv": _csv,
        ".parquet": _parquet,
        ".pq": _parquet,
        ".ndjson": _ndjson,
        ".jsonl": _ndjson,
        ".json": _ndjson,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path} is of a kind that cannot be replayed.", hint=f"Kinds are {', '.join(readers)}."
        )
    try:
        rows = reader(path, wanted)
        while some := list(islice(rows, ROWS)):
            yield _batch(some, wanted, rejects)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.", hint="Check the path.") from None


def _batch(rows: list[Row], wanted: Shape, rejects: Rejects) -> Batch:
    numbers: list[int] = []
    keys: list[bytes] = []
    values: list[bytes] = []
    found: list[tuple[int, str]] = []
    for number, row in rows:
        try:
            if isinstance(row, str):
                raise ValueError(row)  # noqa: TRY004, TRY301 - the handler below counts it
            document = _document(row, wanted)
            value = msgspec.json.encode(document)
            key = str(document.get("user_id", "")).encode()
        except (ValueError, OverflowError, TypeError) as error:
            found.append((number, str(error)))
            continue
        numbers.append(number)
        keys.append(key)
        values.append(value)
    decoded = Decoder().decode(values)
    found += [(numbers[reject.position], reject.reason) for reject in decoded.rejects]
    for number, reason in sorted(found):
        rejects.add(number, reason)
    return Batch([keys[p] for p in decoded.positions], [values[p] for p in decoded.positions])


def _document(row: Mapping[str, Any], wanted: Shape) -> dict[str, Any]:
    """The fields of a message; what the file leaves out is left out."""
    document: dict[str, Any] = {}
    for name in FIELDS:
        value = row.get(wanted.source(name))
        if value is None or value == "":
            value = wanted.filled.get(name, value if name in REQUIRED and value == "" else None)
        if value is not None:
            document[name] = _CONVERT[KINDS[name]](value)
    return document


def _text(value: Any) -> Any:
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        # Readers of tables make floats of whole numbers where one is missing.
        return str(int(value)) if value.is_integer() else repr(value)
    return value


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = float(value.strip())
        except ValueError:
            raise ValueError("amount: not a number") from None
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("amount: not finite")
    return value


def _truth(value: Any) -> Any:
    if isinstance(value, str):
        return _TRUTHS.get(value.strip().lower(), value)
    # 0 and 1 as the topic has them; another number stays as it is and is refused.
    return int(value) if isinstance(value, (bool, int, float, Decimal)) and value in (0, 1) else value


def _instant(value: Any) -> Any:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    try:
        return parse_instant(value).isoformat().replace("+00:00", "Z")
    except ValueError as error:
        raise ValueError(f"timestamp: {error}") from None


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "float": _number,
    "truth": _truth,
    "instant": _instant,
}


def _check(path: Path, wanted: Shape, columns: Iterable[str]) -> None:
    """Raises InputError where a mapped column does not exist or a required field has none."""
    have = list(columns)
    unknown = [theirs for theirs in wanted.renamed.values() if theirs not in have]
    shown = ", ".join(have[:30]) or "none"
    if unknown:
        raise InputError(f"{path} has no column {', '.join(unknown)}.", hint=f"Its columns are {shown}.")
    missing = wanted.missing(have)
    if missing:
        raise InputError(
            f"{path} lacks {', '.join(missing)}.",
            hint=f"Say which column it is with --map their={missing[0]} (its columns are {shown}), "
            f"or give a value for all rows with --fill {missing[-1]}=unknown.",
        )


def _csv(path: Path, wanted: Shape) -> Iterator[Row]:
    """Rows of CSV by the standard library's reader: it goes on after a bad row, which Arrow's does not."""
    # Bytes that are no UTF-8 come through as lone surrogates and spoil their own row only.
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        header = next(reader, [])
        _check(path, wanted, header)
        number = 0
        while True:
            number += 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield number, f"not CSV: {error}"
                continue
            if cells is None:
                return
            if not cells:
                number -= 1
            elif len(cells) != len(header):
                yield number, f"{len(cells)} cells where the header has {len(header)}"
            else:
                yield number, dict(zip(header, cells, strict=True))


def _ndjson(path: Path, wanted: Shape) -> Iterator[Row]:
    with path.open("rb") as file:
        rows = _lines(iter(lambda: file.readline(LONGEST_LINE + 1), b""))
        first = list(islice(rows, LOOKED_AT))
        keys = {key: None for _, row in first if not isinstance(row, str) for key in row}
        if first:
            _check(path, wanted, keys)
        yield from chain(first, rows)


def _lines(lines: Iterator[bytes]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            while line and not line.endswith(b"\n"):
                line = next(lines, b"")  # noqa: PLW2901 - the rest of the same line
            yield number, f"a line of more than {LONGEST_LINE:,} bytes"
        elif line.strip():
            yield number, _object(line)


def _object(line: bytes) -> Mapping[str, Any] | str:
    try:
        document = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"not JSON: {error}"
    return document if isinstance(document, dict) else "not a JSON object"


def _parquet(path: Path, wanted: Shape) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check(path, wanted, names)
            needed = [name for name in dict.fromkeys(map(wanted.source, FIELDS)) if name in names]
            number = 0
            for batch in file.iter_batches(ROWS, columns=needed):
                columns = [_microseconds(batch.column(name)).to_pylist() for name in batch.schema.names]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield number, dict(zip(batch.schema.names, cells, strict=True))
    except pa.ArrowException as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}.") from None


def _microseconds(column: Any) -> Any:
    """Instants as Python can hold them: nanoseconds are cut off."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column
