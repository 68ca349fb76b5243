"""Rows of files, CSV, TSV, Parquet and NDJSON, one by one and in order; an unreadable row does not affect the others."""

import gzip
import io
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from logging import Logger
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, cast

import msgspec

from fraudstream.delimited import header_of, records
from fraudstream.errors import InputError
from fraudstream.logs import get_logger

log = get_logger("files")

ROWS = 4_096
"""Rows that are read and processed together, so that memory does not depend on the length of the file."""
TOLD = 5
"""Rejected rows reported individually; the others are only counted."""
LOOKED_AT = 1_000
"""The columns are the keys of this many first lines of NDJSON, as JSON has no header; of all lines if these lack one."""
LONGEST_LINE = 1_048_576
"""Maximum length of a line in bytes, so that a file without line breaks does not fill the memory."""
DAMAGED = "The file is damaged: create or download it again."
ONE_ON_A_LINE = "Write one object per line: `jq -c '.[]' FILE` converts an array, `jq -c . FILE` objects spread over several lines."
UNREADABLE = (OSError, EOFError, zlib.error)
"""Errors of a file that cannot be read further, compressed or not."""
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_NDJSON = (".ndjson", ".jsonl", ".json")
"""Suffixes of files that are NDJSON even if their first line is broken."""
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")
"""A byte that text does not contain; UTF-16 has many of them."""

Kind = Literal["CSV", "Parquet", "NDJSON"]
"""TSV is CSV with another delimiter."""
Row = tuple[int, Mapping[str, Any] | str]
"""The number of a row, from 1, and its fields, or why it cannot be read."""
Choose = Callable[[Sequence[str]], Sequence[str]]
"""Chooses the columns to read from those that a file has. Raises InputError if they are not sufficient."""


class BadRow(NamedTuple):
    """A row that cannot be used: its number in the file (the first data row is 1) and why."""

    row: int
    reason: str


@dataclass(slots=True)
class Rejects:
    """Invalid rows."""

    count: int = 0
    first: list[BadRow] = field(default_factory=list)

    def add(self, number: int, reason: str) -> None:
        """Count a row, and keep the first ones."""
        self.count += 1
        if len(self.first) < TOLD:
            self.first.append(BadRow(number, reason))

    def document(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "rejected": self.count,
            "rejected_rows": [bad._asdict() for bad in self.first],
        }

    def tell(self, log: Logger) -> None:
        """Log which rows were skipped, and how many more."""
        for number, reason in self.first:
            log.warning("row %d skipped: %s", number, reason)
        if self.count > len(self.first):
            log.warning("%s more rows skipped", f"{self.count - len(self.first):,}")


def read(path: Path, choose: Choose) -> Iterator[Row]:
    """The rows of a file. Raises InputError if it cannot be read at all."""
    try:
        yield from _READERS[kind_of(path)](path, choose)
    except UNREADABLE as error:
        raise unreadable(path, error) from None


def kind_of(path: Path) -> Kind:
    """The format of a file, from its first bytes: one rule for all commands.

    The name decides only if the text could be CSV or NDJSON. Raises InputError if it is none of these or not a file, and UNREADABLE.
    """
    if path.is_fifo() or path.is_char_device():
        raise InputError(f"{path} is a pipe, which cannot be read twice.", hint="Save it to a file first.")
    beginning = b""
    with opened(path) as file:
        while not beginning and (part := file.read(256)):
            beginning = part.removeprefix(BOM_UTF8).lstrip()
    if not beginning:
        raise InputError(f"{path} is empty.", hint="Give a CSV, Parquet or NDJSON file with rows.")
    if beginning.startswith(_PARQUET):
        return "Parquet"
    if beginning.startswith((b"{", b"[")):
        return "NDJSON"
    if _BINARY.search(beginning.partition(b"\n")[0]):
        raise InputError(
            f"{path} is neither UTF-8 text nor Parquet.",
            hint="CSV, TSV, NDJSON (these also with gzip) and Parquet can be read.",
        )
    return "NDJSON" if _named(path, *_NDJSON) else "CSV"


def unreadable(path: Path, error: Exception) -> InputError:
    """The error for a file that cannot be read further, from one of UNREADABLE."""
    reason = " ".join(str(error).split()).rstrip(".")
    # Errors of the system have a number; those of Arrow and gzip about a file's content have none.
    hint = "Check the path." if isinstance(error, OSError) and error.errno else DAMAGED
    return InputError(f"{path} cannot be read: {reason}.", hint=hint)


def delimiter(path: Path) -> str:
    """The delimiter of a file that is neither Parquet nor NDJSON."""
    return "\t" if _named(path, ".tsv") else ","


def _named(path: Path, *endings: str) -> bool:
    """Whether its name has one of these suffixes, with or without `.gz`."""
    return path.name.lower().removesuffix(".gz").endswith(endings)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed if it starts like gzip, whatever its name."""
    with path.open("rb") as file:
        if file.peek(len(_GZIP)).startswith(_GZIP):
            with gzip.open(file, "rb") as unpacked:
                yield cast("IO[bytes]", unpacked)
        else:
            yield file


@contextmanager
def cells_of(path: Path, errors: str) -> Iterator[Iterator[list[str] | str]]:
    """The records of a CSV or TSV file, its header first; `errors` is the handling of invalid UTF-8."""
    with opened(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", errors, newline="") as file:
        yield records(file, delimiter(path))


def _csv(path: Path, choose: Choose) -> Iterator[Row]:
    """Rows of CSV by the standard library's reader, which continues after a bad row, unlike Arrow's."""
    # Invalid UTF-8 becomes lone surrogates and affects only its own row.
    with cells_of(path, "surrogateescape") as found:
        header = header_of(found, path)
        choose(header)
        for number, cells in enumerate(found, 1):
            yield number, cells if isinstance(cells, str) else dict(zip(header, cells, strict=True))


def _ndjson(path: Path, choose: Choose) -> Iterator[Row]:
    with opened(path) as file:
        rows = ndjson(file)
        first = list(islice(rows, LOOKED_AT))
        if first and all(isinstance(row, str) for _, row in first):
            raise no_objects(path, *first[0])
        if first:
            try:
                choose(_keys(first))
            except InputError:
                log.info("looking for the columns in all lines of %s", path)
                with opened(path) as again:
                    choose(_keys(ndjson(again)))
        yield from chain(first, rows)


def _keys(rows: Iterable[Row]) -> list[str]:
    return list({key: None for _, row in rows if not isinstance(row, str) for key in row})


def no_objects(path: Path, number: int, reason: object) -> InputError:
    """The error for JSON without any line that is an object; names the first line, and why."""
    return InputError(f"{path} has no line with one object; line {number}: {reason}.", hint=ONE_ON_A_LINE)


def ndjson(file: IO[bytes]) -> Iterator[Row]:
    """The lines of a file, each as an object or why it is not one; empty ones are counted and skipped."""
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
        if len(line) > LONGEST_LINE:
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE)  # noqa: PLW2901 - the rest of the same line
            yield number, f"a line of more than {LONGEST_LINE:,} bytes"
        # A byte order mark, which some editors and shells write; concatenated files may have several.
        elif text := line.removeprefix(BOM_UTF8).strip():
            yield number, _object(text)


def _object(line: bytes) -> Mapping[str, Any] | str:
    try:
        document = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"not JSON: {error}"
    return document if isinstance(document, dict) else "not a JSON object"


def _parquet(path: Path, choose: Choose) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            needed = list(choose(file.schema_arrow.names))
            number = 0
            for batch in file.iter_batches(ROWS, columns=needed):
                spoilt: dict[int, str] = {}
                names = batch.schema.names
                columns = [_values(*column, spoilt) for column in zip(names, batch.columns, strict=True)]
                for place, cells in enumerate(zip(*columns, strict=True)):
                    number += 1
                    yield number, spoilt.get(place) or dict(zip(names, cells, strict=True))
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}.", hint=DAMAGED) from None


def _values(name: str, column: Any, spoilt: dict[int, str]) -> list[Any]:
    """A column as Python values. What Python cannot represent, such as the year 300000, is in `spoilt` by its row."""
    import pyarrow as pa

    # Nanoseconds are truncated. Seconds are not converted: in a finer unit, distant years would wrap around to near ones.
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    try:
        return [_decoded(value) for value in column.to_pylist()]
    except _UNHELD:
        return [_value(name, place, scalar, spoilt) for place, scalar in enumerate(column)]


def _decoded(value: Any) -> Any:
    """Decode bytes as strings: writers without a string type, such as Hive's and Impala's, store bytes."""
    return value.decode() if isinstance(value, bytes) else value


_UNHELD = (ValueError, ArithmeticError, LookupError)
"""Arrow's errors for values that Python cannot represent: invalid UTF-8, a timestamp out of range, an unknown zone."""


def _value(name: str, place: int, scalar: Any, spoilt: dict[int, str]) -> Any:
    try:
        return _decoded(scalar.as_py())
    except _UNHELD as error:
        spoilt.setdefault(place, f"{name}: {error}")
        return None


_READERS: dict[Kind, Callable[[Path, Choose], Iterator[Row]]] = {
    "CSV": _csv,
    "Parquet": _parquet,
    "NDJSON": _ndjson,
}
