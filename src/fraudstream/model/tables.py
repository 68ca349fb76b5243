"""Transactions from a file (CSV, Parquet, NDJSON): columns checked, bad rows counted and listed.

A training file needs less than a message: user_id, timestamp and amount; every other field of the schema is
optional, and a feature that needs a missing one is left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from fraudstream.errors import InputError
from fraudstream.features.events import INSTANT
from fraudstream.files import BadRow
from fraudstream.mapping import listed, refuse_repeated, refuse_unknown, renames
from fraudstream.model.columns import RISK, converted
from fraudstream.model.files import read_file
from fraudstream.schema import (
    KINDS,
    LABELLED_AT,
    PERSONAL,
    TRUTH,
    arrow_schema,
)

NEEDED = ("user_id", "timestamp", "amount")
WANTED = (*(name for name in KINDS if name not in PERSONAL), LABELLED_AT)
"""The fields to read: no names and e-mail addresses, which are never an input of a model."""
OF_TRUTH = (*TRUTH, LABELLED_AT)
LISTED = 10
"""Bad rows reported individually; the others are only counted."""
MOST_BAD = 0.5
"""Above this share of unreadable rows the file has another format, or usually a column is mapped wrongly."""
CLUES = {
    "transaction_id": ("transaction_id", "tx_id", "trans_num"),
    "user_id": ("customer", "user", "card", "account", "client"),
    "timestamp": ("time", "date"),
    "amount": ("amount", "amt", "value"),
    "merchant_id": ("terminal", "merchant", "shop"),
    "is_fraud": ("fraud", "label", "class"),
    RISK: ("score", "prob"),
}
"""Parts of these columns' names in other data sets, for the hint only."""


@dataclass(frozen=True)
class Loaded:
    """The contents of a file: `rows` in order of time, one per transaction_id, and what was left out."""

    rows: pa.Table
    read: int
    bad: tuple[BadRow, ...] = ()
    """Invalid rows, in the order of the file."""
    duplicates: int = 0
    notes: tuple[str, ...] = ()

    @property
    def unparsable(self) -> int:
        """The number of invalid rows."""
        return len(self.bad)

    @property
    def examples(self) -> tuple[BadRow, ...]:
        """The first of them."""
        return self.bad[:LISTED]


def parse_map(pairs: Iterable[str]) -> dict[str, str]:
    """Parse `THEIRS=OURS` pairs into {ours: theirs}. Raises UsageError if one is malformed or names no field of ours."""
    return renames(pairs, (*WANTED, RISK))


def read_transactions(
    path: Path,
    mapping: Mapping[str, str] | None = None,
    *,
    with_risk: bool = False,
    with_truth: bool = True,
) -> Loaded:
    """The transactions of a CSV, Parquet or NDJSON file; `with_risk` also requires a column `risk` in [0, 1].

    Without `with_truth`, `is_fraud`, `fraud_scenario` and `labelled_at` are ignored, and no row is refused for them.

    Timestamps are converted to UTC, even from mixed zones; no zone means UTC. The first row of a repeated
    transaction_id is kept. Raises InputError if the file cannot be read, lacks a required column, is
    empty, is mostly unreadable, or has contradicting labels.
    """
    wanted = tuple(name for name in WANTED if with_truth or name not in OF_TRUTH)
    needed: tuple[str, ...] = NEEDED
    if with_risk:
        wanted, needed = (*wanted, RISK), (*needed, RISK)
    renamed = dict(mapping or {})
    texts = {renamed.get(name, name): name for name in wanted if KINDS.get(name) == "text"}
    file = read_file(path, [*wanted, *renamed.values()], texts)
    raw, broken = file.columns, file.broken
    if not raw.num_rows and broken:
        raise _mostly_bad(path, broken, len(broken))
    source = _columns(file.names, renamed, path, wanted, needed)
    if raw.num_rows == 0:
        raise InputError(f"{path} has no rows.", hint="Give a file with transactions in it.")
    reasons: NDArray[Any] = np.full(raw.num_rows, None, dtype=object)
    columns: dict[str, pa.ChunkedArray | pa.Array] = {}
    notes: list[str] = []
    for ours in wanted:
        if ours not in source:
            continue
        values, bad, why = converted(ours, raw[source[ours]])
        reasons[bad & (reasons == None)] = f"{ours}: {why}"  # noqa: E711 - elementwise on objects
        columns[ours] = values
    if "transaction_id" not in columns:
        columns["transaction_id"] = pa.array([f"row-{file.number(i)}" for i in range(raw.num_rows)])
        notes.append("The file has no transaction_id: rows are numbered, and duplicates cannot be found.")
    good = reasons == None  # noqa: E711
    bad_rows = [BadRow(file.number(int(i)), reasons[i]) for i in np.flatnonzero(~good)]
    bad_rows = sorted([*bad_rows, *broken], key=lambda bad: bad.row)
    read = raw.num_rows + len(broken)
    if len(bad_rows) > MOST_BAD * read:
        raise _mostly_bad(path, bad_rows, read)
    types = {**{f.name: f.type for f in arrow_schema()}, RISK: pa.float64(), LABELLED_AT: INSTANT}
    names = [name for name in wanted if name in columns]
    rows = pa.table({n: columns[n].cast(types[n]) for n in names}).filter(pa.array(good))
    kept, duplicates = _without_duplicates(rows)
    return Loaded(kept.sort_by("timestamp"), read, tuple(bad_rows), duplicates, tuple(notes))


def _mostly_bad(path: Path, bad: Sequence[BadRow], read: int) -> InputError:
    return InputError(
        f"{len(bad)} of {read} rows of {path} cannot be read; the first: row {bad[0].row}, {bad[0].reason}.",
        hint="Name the file's own columns with --map THEIRS=OURS.",
    )


def _columns(
    found: Sequence[str], mapping: dict[str, str], path: Path, wanted: Sequence[str], needed: Sequence[str]
) -> dict[str, str]:
    """{ours: theirs} for every field that the file has. Raises InputError for missing or duplicate ones."""
    refuse_repeated(path, found, {mapping.get(name, name) for name in wanted})
    refuse_unknown(path, found, mapping.values())
    source = {name: name for name in wanted if name in found} | mapping
    missing = [name for name in needed if name not in source]
    if missing:
        guesses = [f"--map {theirs}={ours}" for ours in CLUES if (theirs := _guess(ours, found, source))]
        raise InputError(
            f"{path} has no column {' and no '.join(missing)}; it has {listed(found)}.",
            hint=f"Name the file's own columns: {' '.join(guesses) or '--map THEIRS=' + missing[0]}",
        )
    return source


def _guess(ours: str, found: Sequence[str], source: Mapping[str, str]) -> str | None:
    """The column that is most likely `ours`, unless `source` names it."""
    free = [name for name in found if name not in source.values()]
    for clue in CLUES[ours] if ours not in source else ():
        for name in free:
            if clue in name.lower():
                return name
    return None


def _without_duplicates(rows: pa.Table) -> tuple[pa.Table, int]:
    """The first row of each transaction_id, with a later one's label if it has none; and the number of others.

    Raises InputError if labels of the same id contradict each other.
    """
    ids = rows["transaction_id"].to_pandas()
    again = ids.duplicated().to_numpy()
    if not again.any():
        return rows, 0
    if "is_fraud" in rows.column_names:
        labels = pd.DataFrame({"id": ids, "fraud": rows["is_fraud"].to_pandas()}).dropna()
        contradicting = labels[labels["id"].isin(ids[again])].groupby("id")["fraud"].nunique()
        names = list(contradicting[contradicting > 1].index)
        if names:
            raise InputError(
                f"{len(names)} transactions are labelled both fraud and not fraud: {', '.join(names[:5])}"
                f"{', …' if len(names) > 5 else ''}.",  # noqa: PLR2004 - enough to find them
                hint="Keep one label for each transaction_id.",
            )
    kept = np.flatnonzero(~again)
    return _told(rows, ids, kept), int(again.sum())


def _told(rows: pa.Table, ids: "pd.Series[str]", kept: NDArray[np.intp]) -> pa.Table:
    """The rows `kept`, each with the truth of the first labelled row of its id, as exports append verdicts."""
    found = rows.take(kept)
    if "is_fraud" not in rows.column_names:
        return found
    labelled = np.flatnonzero(rows["is_fraud"].is_valid())
    first = pd.Series(labelled, index=ids.iloc[labelled])
    first = first[~first.index.duplicated()].reindex(ids.iloc[kept])
    source = np.where(first.isna(), kept, first.fillna(0)).astype(np.int64)
    for place, name in enumerate(rows.column_names):
        if name in OF_TRUTH:
            found = found.set_column(place, name, rows[name].take(source))
    return found
