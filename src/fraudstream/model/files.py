"""Raw columns of a file: CSV, TSV, Parquet or NDJSON, detected by its first bytes, with or without gzip."""

import json
from codecs import getincrementaldecoder
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from fraudstream.cells import to_text
from fraudstream.delimited import header_of
from fraudstream.errors import InputError
from fraudstream.files import (
    DAMAGED,
    UNREADABLE,
    BadRow,
    Kind,
    cells_of,
    delimiter,
    kind_of,
    ndjson,
    no_objects,
    opened,
    unreadable,
)

PORTION: Final = 8_192
"""Rows held as Python lists before conversion to Arrow columns, which take a tenth of the memory."""
_TEXTS = "Give a UTF-8 CSV with a header, Parquet, or one JSON object on each line."
_PART = 1 << 20
"""Bytes examined at a time."""


@dataclass(frozen=True, slots=True)
class Raw:
    """The contents of a file: its columns unconverted, those of CSV and NDJSON all strings."""

    columns: pa.Table
    names: list[str]
    """Of all columns of the file, also those that were not read."""
    numbers: "list[int] | None"
    """The number of each row in the file; None if that is its position."""
    broken: list[BadRow]
    """Malformed rows: the wrong number of fields, or not a JSON object."""

    def number(self, row: int) -> int:
        """The number in the file of a row of `columns`."""
        return self.numbers[row] if self.numbers else row + 1


def read_file(path: Path, wanted: Iterable[str], texts: Mapping[str, str]) -> Raw:
    """The columns `wanted` of a file, which may have any number of others.

    `texts` has the field of ours for each column of identifiers or names: in NDJSON, they may also be numbers.

    Raises InputError if the file as a whole cannot be read.
    """
    kind: Kind = "CSV"
    try:
        kind = kind_of(path)
        if kind == "Parquet":
            return _parquet(path, frozenset(wanted))
        return _ndjson(path, wanted, texts) if kind == "NDJSON" else _csv(path, frozenset(wanted))
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.", hint="Check the path after --data.") from None
    except UNREADABLE as error:
        raise unreadable(path, error) from None
    except (UnicodeError, pa.ArrowException) as error:
        hint = DAMAGED if kind == "Parquet" else _TEXTS
        detail = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{path} cannot be read as {kind}: {detail}.", hint=hint) from None


def _parquet(path: Path, wanted: Collection[str]) -> Raw:
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        # Not `read_table`, which has another error for duplicate columns.
        table = file.read([name for name in dict.fromkeys(names) if name in wanted])
    for place, field in enumerate(table.schema):
        if field.name not in wanted:
            continue
        # Invalid strings would raise wherever they are first used; here they are reported in a sentence.
        table[place].validate(full=True)
        if _is_bytes(field.type):
            table = table.set_column(place, field.name, table[place].cast(pa.string()))
    return Raw(table.rename_columns(table.column_names), names, None, [])


def known_rows(path: Path) -> int | None:
    """How many rows the file says that it has; None if only reading it tells, or that it cannot be read."""
    try:
        if kind_of(path) != "Parquet":
            return None
        with pq.ParquetFile(path) as file:
            return int(file.metadata.num_rows)
    except (InputError, pa.ArrowException, *UNREADABLE):
        return None


def _is_bytes(kind: pa.DataType) -> bool:
    """Whether it is binary, which writers without a string type, such as Hive's and Impala's, use for strings."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_fixed_size_binary,
        )
    )


def _csv(path: Path, wanted: Collection[str]) -> Raw:
    header = _header(path)
    # Without any of them, the first one tells how many rows there are.
    read = [name for name in dict.fromkeys(header) if name in wanted] or header[:1]
    if not _is_plain(path):
        return _row_by_row(path, header, read)
    broken: list[BadRow] = []

    def skip(row: Any) -> str:
        # Arrow counts the header as the first row.
        reason = f"{row.actual_columns} cells where the header has {row.expected_columns}"
        broken.append(BadRow(row.number - 1, reason))
        return "skip"

    with opened(path) as file:
        try:
            table = _table(pa.PythonFile(file, mode="r"), delimiter(path), read, skip)
        except pa.ArrowInvalid:  # a record longer than Arrow's block
            return _row_by_row(path, header, read)
    skipped = {bad.row for bad in broken}
    rows = range(1, table.num_rows + len(broken) + 1)
    return Raw(table, header, [row for row in rows if row not in skipped] if skipped else None, broken)


def _is_plain(path: Path) -> bool:
    """Whether each line is one record for every parser: there are no quotes, and no carriage returns within a line.

    Arrow would lose rows because of a stray quote, or silently drop it from `"15" inch`. Nor can it return a row that is
    not valid UTF-8, for which this raises InputError.
    """
    decoder = getincrementaldecoder("utf-8")()
    line, last, plain = 1, b"", True
    with opened(path) as file:
        while part := file.read(_PART):
            try:
                decoder.decode(part)
            except UnicodeDecodeError as error:
                raise _not_utf8(path, line + part.count(b"\n", 0, error.start)) from None
            line += part.count(b"\n")
            # A carriage return at the end of a block is kept for the next one, which may begin with its line feed.
            seen, last = last + part, part[-1:] if part.endswith(b"\r") else b""
            plain = plain and b'"' not in part and seen.count(b"\r") - len(last) == seen.count(b"\r\n")
    if decoder.getstate()[0]:
        raise _not_utf8(path, line)
    return plain and not last


def _not_utf8(path: Path, line: int) -> InputError:
    return InputError(
        f"{path} is not UTF-8: line {line} has other bytes.",
        hint=f"Convert it, for example: iconv -f latin1 -t utf-8 {path.name} > utf-8.csv",
    )


def _header(path: Path) -> list[str]:
    """The names of the columns. Raises InputError if the first line does not have them."""
    # Invalid UTF-8 is reported later, with its line.
    with cells_of(path, "surrogateescape") as found:
        header = header_of(found, path)
    if not header:
        raise InputError(f"{path} is empty.", hint="Give a CSV with a header and rows.")
    return header


def _row_by_row(path: Path, header: list[str], read: Sequence[str]) -> Raw:
    """Read it as `produce` does, at 6 us per row instead of Arrow's 0.3: a malformed line does not affect others."""
    schema = pa.schema([pa.field(name, pa.string()) for name in read])
    places = [header.index(name) for name in read]
    batches: list[pa.RecordBatch] = []
    numbers: list[int] = []
    broken: list[BadRow] = []
    with cells_of(path, "strict") as found:
        numbered = islice(enumerate(found), 1, None)  # after the header
        while some := list(islice(numbered, PORTION)):
            broken += [BadRow(number, cells) for number, cells in some if isinstance(cells, str)]
            numbers += [number for number, cells in some if not isinstance(cells, str)]
            rows = [cells for _, cells in some if not isinstance(cells, str)]
            arrays = [pa.array([cells[place] or None for cells in rows], pa.string()) for place in places]
            if rows:
                batches.append(pa.record_batch(arrays, schema=schema))
    return Raw(pa.Table.from_batches(batches, schema), header, numbers, broken)


def _table(file: pa.NativeFile, between: str, read: Sequence[str], skip: Callable[[Any], str]) -> pa.Table:
    return pacsv.read_csv(
        file,
        # With several threads Arrow does not report which row was skipped.
        read_options=pacsv.ReadOptions(use_threads=False),
        parse_options=pacsv.ParseOptions(delimiter=between, quote_char=False, invalid_row_handler=skip),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(read, pa.string()),
            strings_can_be_null=True,
            null_values=[""],
            include_columns=list(read),
        ),
    )


def _ndjson(path: Path, wanted: Iterable[str], texts: Mapping[str, str]) -> Raw:
    names = tuple(dict.fromkeys(wanted))
    columns: dict[str, list[str | None]] = {name: [] for name in names}
    numbers: list[int] = []
    broken: list[BadRow] = []
    seen: dict[str, None] = {}
    with opened(path) as file:
        for number, document in ndjson(file):
            if isinstance(document, str):
                broken.append(BadRow(number, document))
                continue
            seen.update(dict.fromkeys(document))
            try:
                found = [_cell(name, document.get(name), texts) for name in names]
            except ValueError as error:
                broken.append(BadRow(number, str(error)))
                continue
            numbers.append(number)
            for name, value in zip(names, found, strict=True):
                columns[name].append(value)
    if broken and not numbers and not seen:
        raise no_objects(path, broken[0].row, broken[0].reason)
    # For a file without any of them, the error lists the names that it has instead.
    others = {name: pa.nulls(len(numbers), pa.string()) for name in list(seen)[:30] if name not in columns}
    table = pa.table({name: pa.array(columns[name], pa.string()) for name in names if name in seen} | others)
    return Raw(table, table.column_names, numbers, broken)


def _cell(name: str, value: Any, texts: Mapping[str, str]) -> str | None:
    """A value as a CSV would have it; a list or an object as JSON, which is invalid for all our other fields.

    Raises ValueError for an identifier or a name that is neither a string nor a number.
    """
    if value is None or isinstance(value, str):
        return value
    if name not in texts:
        return json.dumps(value)
    try:
        return to_text(value)
    except ValueError as error:
        raise ValueError(f"{texts[name]}: {error}") from None
