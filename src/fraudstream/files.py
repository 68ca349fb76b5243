"""Rows of files, CSV, TSV, Parquet and NDJSON, one by one and in their order; one that cannot be read spoils itself only."""

import gzip
import io
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Literal, cast

import msgspec

from fraudstream.delimited import header_of, records
from fraudstream.errors import InputError, UsageError

ROWS = 4_096
"""Rows that are read and handled together: memory stays the same however long the file is."""
TOLD = 5
"""Rejected rows that are told one by one; the others are counted."""
LOOKED_AT = 1_000
"""Lines of NDJSON whose keys stand for its columns; JSON has no header to ask."""
LONGEST_LINE = 1_048_576
"""Bytes of a line: more is no row, and a file without line ends must not fill the memory."""
DAMAGED = "The file is damaged: create or download it again."
ONE_ON_A_LINE = "Write one object per line: `jq -c '.[]' FILE` converts an array, `jq -c . FILE` objects spread over several lines."
UNREADABLE = (OSError, EOFError, zlib.error)
"""What is raised where a file cannot be read on, packed or not."""
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_NDJSON = (".ndjson", ".jsonl", ".json")
"""Names of files whose first line may be the broken one."""
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")
"""What no line of text begins a file with; UTF-16 is full of it, too."""

Kind = Literal["CSV", "Parquet", "NDJSON"]
"""TSV is CSV with another delimiter."""
Row = tuple[int, Mapping[str, Any] | str]
"""Number of a row from 1, and its fields, or why it cannot be read."""
Choose = Callable[[Sequence[str]], Sequence[str]]
"""Given the columns that a file has, those to read. Raises InputError where they will not do."""


@dataclass(slots=True)
class Rejects:
    """Rows that are not what they should be."""

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


def read(path: Path, choose: Choose) -> Iterator[Row]:
    """The rows of a file. Raises InputError where it cannot be read at all."""
    try:
        yield from _READERS[kind_of(path)](path, choose)
    except UNREADABLE as error:
        raise unreadable(path, error) from None


def kind_of(path: Path) -> Kind:
    """What a file holds, by how it begins: one rule for all commands. Only of text that may be either its name is asked.

    Raises InputError where it is none of these or no file, and UNREADABLE.
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
    """The error for a file that cannot be read on, one of UNREADABLE."""
    reason = " ".join(str(error).split()).rstrip(".")
    # What the system says has a number; what Arrow and gzip say of a file's content has none.
    hint = "Check the path." if isinstance(error, OSError) and error.errno else DAMAGED
    return InputError(f"{path} cannot be read: {reason}.", hint=hint)


def delimiter(path: Path) -> str:
    """What stands between the cells of a file that is neither Parquet nor NDJSON."""
    return "\t" if _named(path, ".tsv") else ","


def _named(path: Path, *endings: str) -> bool:
    """Whether its name ends so, packed or not."""
    return path.name.lower().removesuffix(".gz").endswith(endings)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where it begins as gzip does, whatever its name says."""
    with path.open("rb") as file:
        if file.peek(len(_GZIP)).startswith(_GZIP):
            with gzip.open(file, "rb") as unpacked:
                yield cast("IO[bytes]", unpacked)
        else:
            yield file


@contextmanager
def cells_of(path: Path, errors: str) -> Iterator[Iterator[list[str] | str]]:
    """The records of a file of cells, its header first; `errors` is what becomes of bytes that are no UTF-8."""
    with opened(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", errors, newline="") as file:
        yield records(file, delimiter(path))


def renames(texts: Iterable[str], ours: Collection[str]) -> dict[str, str]:
    """`THEIRS=OURS` strings as our field → their column. Raises UsageError where one is none, or names no field of ours."""
    renamed: dict[str, str] = {}
    for text in texts:
        # A column's name may hold an equals sign, ours do not.
        theirs, _, name = text.rpartition("=")
        if not theirs or name not in ours:
            raise malformed("--map", text, "THEIRS=OURS", ours)
        if name in renamed:
            raise UsageError(f"--map gives {name} twice.", hint="Keep one of them.")
        renamed[name] = theirs
    return renamed


def malformed(option: str, text: str, form: str, ours: Iterable[str]) -> UsageError:
    """The error for an option whose value does not have its form."""
    return UsageError(
        f"{option} {text!r} must have the form {form}, where OURS is one of our fields.",
        hint=f"Our fields are {', '.join(ours)}.",
    )


def check_columns(path: Path, ours: Iterable[str], renamed: Mapping[str, str], have: Sequence[str]) -> str:
    """Raises InputError where a column that --map names does not exist, or one of our fields has two.

    Returns the columns as a hint shows them.
    """
    unknown = [theirs for theirs in renamed.values() if theirs not in have]
    shown = listed(have[:30]) or "none"
    if unknown:
        raise InputError(f"{path} has no column {', '.join(unknown)}.", hint=f"Its columns are {shown}.")
    refuse_repeated(path, have, {renamed.get(name, name) for name in ours})
    return shown


def refuse_repeated(path: Path, have: Sequence[str], read: Iterable[str]) -> None:
    """Raises InputError where one of the columns that are `read` is there twice: either may be meant."""
    twice = sorted(name for name in set(read) if have.count(name) > 1)
    if twice:
        raise InputError(f"{path} has two columns called {listed(twice)}.", hint="Rename one of them.")


def listed(names: Iterable[str]) -> str:
    """Columns as an error tells them: a table with an index has one without a name."""
    return ", ".join(name or '""' for name in names)


def _csv(path: Path, choose: Choose) -> Iterator[Row]:
    """Rows of CSV by the standard library's reader: it goes on after a bad row, which Arrow's does not."""
    # Bytes that are no UTF-8 come through as lone surrogates and spoil their own row only.
    with cells_of(path, "surrogateescape") as found:
        header = header_of(found, path)
        choose(header)
        for number, cells in enumerate(found, 1):
            yield number, cells if isinstance(cells, str) else dict(zip(header, cells, strict=True))


def _ndjson(path: Path, choose: Choose) -> Iterator[Row]:
    with opened(path) as file:
        rows = ndjson(file)
        first = list(islice(rows, LOOKED_AT))
        objects = [row for _, row in first if not isinstance(row, str)]
        if first and not objects:
            raise no_objects(path, *first[0])
        if first:
            choose(list({key: None for row in objects for key in row}))
        yield from chain(first, rows)


def no_objects(path: Path, number: int, reason: object) -> InputError:
    """The error for JSON of which no line is an object; the first line that is none, and why."""
    return InputError(f"{path} has no line with one object; line {number}: {reason}.", hint=ONE_ON_A_LINE)


def ndjson(file: IO[bytes]) -> Iterator[Row]:
    """The lines of a file, each as an object or why it is none; empty ones are counted and left out."""
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
        if len(line) > LONGEST_LINE:
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE)  # noqa: PLW2901 - the rest of the same line
            yield number, f"a line of more than {LONGEST_LINE:,} bytes"
        # As some editors and shells begin a file, of which several may stand in one.
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
    """A column as Python has it. What Python cannot hold, such as an instant of the year 300000, is in `spoilt` by its row."""
    import pyarrow as pa

    # Nanoseconds are cut off. Seconds stay what they are: made finer, those of a far year would wrap around to a near one.
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    try:
        return [_decoded(value) for value in column.to_pylist()]
    except _UNHELD:
        return [_value(name, place, scalar, spoilt) for place, scalar in enumerate(column)]


def _decoded(value: Any) -> Any:
    """Strings as strings: writers without a type for them, such as Hive's and Impala's, leave their bytes."""
    return value.decode() if isinstance(value, bytes) else value


_UNHELD = (ValueError, ArithmeticError, LookupError)
"""What Arrow raises for a value that Python cannot hold: bytes that are no string, an instant out of range, an unknown zone."""


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
