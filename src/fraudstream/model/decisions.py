"""Writes decisions: one JSON document per line, or a table as CSV or Parquet."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import msgspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from fraudstream import decision, outputs
from fraudstream.decision import Decision
from fraudstream.errors import InputError
from fraudstream.model.scoring import Answer

Write = Callable[[Sequence[Answer]], None]
"""Appends some answers."""

NDJSON: Final = (".ndjson", ".jsonl", ".json")
KINDS: Final = (".csv", ".parquet", *NDJSON)
"""Suffixes of an output file."""
OPTION: Final = "--output"
"""The option that names an output file, for messages."""
PREFIX: Final = "features."
"""Prefix of the feature columns in a table: one of them is called `amount`, like the field."""


def to_stream(stream: IO[bytes]) -> Write:
    """Write documents to an open stream; each batch is flushed before the next one is read."""
    encode = msgspec.json.Encoder().encode

    def write(answers: Sequence[Answer]) -> None:
        stream.write(b"".join(encode(answer) + b"\n" for answer in answers))
        stream.flush()

    return write


def check_output(path: Path) -> None:
    """Raise InputError if `path` cannot be written, before the work is done in vain."""
    if path.suffix.lower() not in KINDS:
        raise InputError(
            f"{path} has a suffix that is not supported.",
            hint=f"Supported are {', '.join(KINDS)}.",
        )
    outputs.check_writable(_target(path), OPTION, replaced=True)


@contextmanager
def to_file(path: Path, features: Sequence[str]) -> Iterator[Write]:
    """Write to a file that appears once everything is written; an existing one stays unchanged until then.

    It keeps its permissions, and a symbolic link stays one: what it points to is replaced. The suffix determines the format.
    Tables contain decisions only, no refusals.
    """
    check_output(path)
    with outputs.writing(path, OPTION):
        target = _target(path)
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    fresh, opened = Path(name), ExitStack()
    try:
        with outputs.writing(path, OPTION):
            stream = opened.enter_context(os.fdopen(descriptor, "wb"))
            write = _writer(opened, stream, path.suffix.lower(), features)
        yield outputs.writing(path, OPTION)(write)
        with outputs.writing(path, OPTION):
            opened.close()
            fresh.chmod(mode)
            fresh.replace(target)
    finally:
        # After a failure, closing the table may fail as well: the first error is the one that counts.
        with suppress(OSError):
            opened.close()
        fresh.unlink(missing_ok=True)


def _target(path: Path) -> Path:
    """The file itself, if `path` is a symbolic link."""
    return Path(os.path.realpath(path))


def _umask() -> int:
    """The mask of new files; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _writer(opened: ExitStack, stream: IO[bytes], kind: str, features: Sequence[str]) -> Write:
    """A writer of answers to `stream`; a table is completed when `opened` is closed."""
    if kind in NDJSON:
        return to_stream(stream)
    columns = _schema(features)
    table = pq.ParquetWriter(stream, columns) if kind == ".parquet" else pacsv.CSVWriter(stream, columns)
    opened.enter_context(table)
    return lambda answers: table.write_table(_rows(answers, features))


def _schema(features: Sequence[str]) -> pa.Schema:
    """The schema of a table of decisions, without fields that a file never has (rules, the time of a message)."""
    fields = [
        field for field in decision.arrow_schema() if field.name not in ("rules", "sent_at", "features")
    ]
    return pa.schema([*fields, *(pa.field(f"{PREFIX}{name}", pa.float64()) for name in features)])


def _rows(answers: Iterable[Answer], features: Sequence[str]) -> pa.Table:
    decisions = [answer for answer in answers if isinstance(answer, Decision)]
    columns = {
        field.name: pa.array([getattr(d, field.name) for d in decisions], field.type) for field in _schema(())
    }
    values = {
        f"{PREFIX}{name}": pa.array([d.features[name] for d in decisions], pa.float64()) for name in features
    }
    return pa.table(columns | values, schema=_schema(features))
