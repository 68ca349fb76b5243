"""Labels from files: CSV, Parquet or NDJSON with `transaction_id` and `is_fraud`, and optionally author, time and note.

The same file twice adds nothing, whatever was labelled in between: imported files are remembered by their bytes. Only
a label that was refused as it lay in the future is added once its time has come. A row of a new file is added if

- it has a time, and there is no equal label of that transaction at that time;
- it has none, and it differs from the same person's latest label of that transaction.

So a growing export can be imported every day, and does not override what others said since.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fraudstream.cells import as_instant, as_truth, to_text
from fraudstream.errors import InputError
from fraudstream.files import Rejects
from fraudstream.mapping import Shape, renames
from fraudstream.schema import ID_LENGTH, NOTE_LENGTH, SKEW, TEXT_LENGTH
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connected
from fraudstream.store.labels import require_fit, unfit
from fraudstream.store.rows import one

FIELDS = ("transaction_id", "is_fraud", "labelled_at", "labelled_by", "note")
REQUIRED = FIELDS[:2]
FILE_LOCK = 0x6C66696C  # "lfil": like `migrate.LOCK`, a number that all versions of the program agree on

Values = tuple[str, bool, datetime | None, str | None, str | None]
"""One label, in the order of FIELDS; without a time it gets the current one."""


@dataclass(slots=True)
class Imported:
    """The result of importing a file of labels."""

    read: int = 0
    added: int = 0
    present: int = 0
    """Rows that add nothing."""
    unknown: int = 0
    """Rows whose transaction is not stored (yet); their labels are kept."""
    read_before: datetime | None = None
    """When this file was first read, if it was: then only labels that were in the future are added."""
    rejects: Rejects = field(default_factory=Rejects)


def renamed(texts: Sequence[str]) -> dict[str, str]:
    """Parse `THEIRS=OURS` strings into our field → their column. Raises UsageError if one is malformed or names no field."""
    return renames(texts, FIELDS)


def labels_from_file(
    postgres: PostgresSettings, path: Path, columns: Mapping[str, str], by: str | None = None
) -> Imported:
    """Add the labels of a file, all or none of them; `columns` is our field → theirs, `by` the default author.

    Raises InputError if `by` cannot be stored, or if the file cannot be read, lacks a required column, or has no valid
    label at all; DatabaseError.
    """
    require_fit("labelled_by", by, TEXT_LENGTH)
    done = Imported()
    digest = _digest(path, columns)
    with connected(postgres) as connection:
        # One file at a time: of two simultaneous imports of the same file, the second finds it imported.
        # With a limit, as anybody who may log in can hold this lock (docs/security.md).
        connection.execute("set local lock_timeout = '5min'")
        connection.execute("select pg_advisory_xact_lock(%s)", (FILE_LOCK,))
        now, done.read_before = one(
            connection, "select now(), (select read_at from shop.label_files where sha256 = %s)", (digest,)
        )
        for labels in _portions(path, columns, by, now, done):
            (unknown,) = one(connection, _COUNT_UNKNOWN, ([label[0] for label in labels],))
            done.unknown += unknown
            if news := _not_taken(labels, done.read_before):
                (added,) = one(connection, _ADD, [list(column) for column in zip(*news, strict=True)])
                done.added += added
        if done.read == done.rejects.count:
            raise _nothing(path, done)
        if done.read_before is None:
            connection.execute(
                "insert into shop.label_files (sha256, name, added) values (%s, %s, %s)",
                (digest, path.name, done.added),
            )
    done.present = done.read - done.rejects.count - done.added
    return done


def _not_taken(labels: Sequence[Values], read_before: datetime | None) -> Sequence[Values]:
    """The labels that an earlier import of the same file refused, as they were in the future."""
    if read_before is None:
        return labels
    return [label for label in labels if label[2] is not None and label[2] > read_before + SKEW]


def _digest(path: Path, columns: Mapping[str, str]) -> str:
    """The identity of a file: its bytes, and how its columns were mapped."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.", hint="Check the path.") from None
    digest.update(json.dumps(sorted(columns.items())).encode())
    return digest.hexdigest()


def _nothing(path: Path, done: Imported) -> InputError:
    if not done.read:
        return InputError(f"{path} has no rows.", hint="Give a file with labels in it.")
    number, reason = done.rejects.first[0]
    return InputError(
        f"None of the {done.read:,} rows of {path} is a label; the first: row {number}, {reason}.",
        hint="Name the file's own columns with --map THEIRS=OURS.",
    )


_COUNT_UNKNOWN = """
select count(*) from unnest(%s::text[]) as i (transaction_id)
where not exists (select from shop.transactions as t where t.transaction_id = i.transaction_id)
  and not exists (select from shop.fraud_transactions as t where t.transaction_id = i.transaction_id)"""

_ADD = """
with rows as (
  select * from unnest(%s::text[], %s::boolean[], %s::timestamptz[], %s::text[], %s::text[]) with ordinality
    as i (transaction_id, is_fraud, labelled_at, labelled_by, note, place)
), apart as (
  -- without a time, each person's last row; with a time, every different row
  select distinct on (transaction_id, labelled_by, labelled_at, case when labelled_at is not null then is_fraud end) *
  from rows
  order by transaction_id, labelled_by, labelled_at, case when labelled_at is not null then is_fraud end, place desc
), added as (
  insert into shop.labels (transaction_id, is_fraud, labelled_at, labelled_by, note)
  select transaction_id, is_fraud, coalesce(labelled_at, now()), labelled_by, note from apart as a
  where case
    when labelled_at is null then is_fraud is distinct from (
      select l.is_fraud from shop.labels as l
      where l.transaction_id = a.transaction_id and l.labelled_by is not distinct from a.labelled_by
      order by l.labelled_at desc, l.label_id desc limit 1)
    else not exists (
      select from shop.labels as l
      where l.transaction_id = a.transaction_id and l.is_fraud = a.is_fraud and l.labelled_at = a.labelled_at
        and l.labelled_by is not distinct from a.labelled_by)
    end
  order by place
  returning 1
)
select count(*) from added"""


def _portions(
    path: Path, columns: Mapping[str, str], by: str | None, now: datetime, done: Imported
) -> Iterator[list[Values]]:
    """The labels of a file, in its order; invalid rows go to `done.rejects`."""
    # In a file that was read before, no label may be ahead of the clock: it would be stored with another time than its
    # own, and once more at the next import of the file.
    latest = now + (SKEW if done.read_before is None else timedelta())
    shape = Shape(FIELDS, REQUIRED, columns)
    for rows in shape.portions(path):
        labels = []
        for number, row in rows:
            done.read += 1
            try:
                if isinstance(row, str):
                    raise ValueError(row)  # noqa: TRY004, TRY301 - the handler below counts it
                fields = {name: row.get(shape.source(name)) for name in FIELDS}
                labels.append(parse(fields, by, now, latest))
            except ValueError as error:
                done.rejects.add(number, str(error))
        if labels:
            yield labels


def parse(fields: Mapping[str, Any], by: str | None, now: datetime, latest: datetime | None = None) -> Values:
    """One label from the fields of a row; a time after `now` becomes `now`, and one after `latest` is an error.

    Raises ValueError with what is wrong.
    """
    given = {name: None if value == "" else value for name, value in fields.items()}
    missing = [name for name in REQUIRED if given.get(name) is None]
    if missing:
        raise ValueError(f"{missing[0]}: missing")
    is_fraud = as_truth(given["is_fraud"])
    if type(is_fraud) is not int or is_fraud not in (0, 1):
        raise ValueError("is_fraud: not 0 or 1, true or false, yes or no")
    name = _text("transaction_id", given["transaction_id"], ID_LENGTH)
    said_by = given.get("labelled_by")
    note = given.get("note")
    return (
        name,
        bool(is_fraud),
        _time(given.get("labelled_at"), now, latest or now + SKEW),
        by if said_by is None else _text("labelled_by", said_by, TEXT_LENGTH),
        None if note is None else _text("note", note, NOTE_LENGTH),
    )


def _text(name: str, value: Any, length: int) -> str:
    try:
        text = to_text(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if reason := unfit(text, length):
        raise ValueError(f"{name}: {reason}")
    return text


def _time(value: Any, now: datetime, latest: datetime) -> datetime | None:
    if value is None:
        return None
    try:
        at = as_instant(value)
    except ValueError as error:
        raise ValueError(f"labelled_at: {error}") from None
    if at > latest:
        raise ValueError(
            "labelled_at: is in the future (a time without a zone is taken as UTC); import the file again once that time has passed"
        )
    return min(at, now)
