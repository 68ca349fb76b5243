"""Where commands get transactions and models from: a file, PostgreSQL, the registry. Skipped rows are reported."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudstream.cli import memory
from fraudstream.errors import InputError, UsageError
from fraudstream.logs import get_logger

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from fraudstream.model.artifact import Model
    from fraudstream.model.tables import Loaded
    from fraudstream.settings import PostgresSettings

log = get_logger("inputs")


def database() -> "PostgresSettings":
    """The database, with its tables up to date: one without any data yet is empty, not an error."""
    from fraudstream.settings import load
    from fraudstream.store.migrate import migrate

    postgres = load().postgres
    migrate(postgres)
    return postgres


def open_model(model: str | None) -> "Model":
    """A model from a directory, or from the registry by its version; None is the champion."""
    from fraudstream.model import folder

    if model is not None and (os.sep in model or _is_directory(Path(model))):
        return folder.read(Path(model))
    from fraudstream.settings import load
    from fraudstream.store import registry

    if model is not None and load().postgres.host is None:
        raise InputError(
            f"There is no directory {model}, and no PostgreSQL in whose registry to look for a version of that name.",
            hint="Check the path. For a version in the registry: `fraudstream up`, or set FRAUDSTREAM_POSTGRES__HOST.",
        )
    return registry.opened(database(), model)


def _is_directory(path: Path) -> bool:
    """Whether it is one; not if the system refuses to look, as for a very long name: then it may be a version."""
    try:
        return path.is_dir()
    except OSError:
        return False


def transactions(
    data: Path | None,
    mapping: list[str] | None,
    since: "datetime | None" = None,
    postgres: "PostgresSettings | None" = None,
) -> tuple["pa.Table", dict[str, Any]]:
    """The transactions of a file, or without one those in PostgreSQL from `since` on, and where they came from.

    `postgres` is the `database()`, if the caller has it already.
    """
    refuse_since(data, since)
    if data is not None:
        from fraudstream.model.files import known_rows

        too_many = "Give a file of the last months only"
        _refuse_too_many(known_rows(data) or 0, too_many)
        loaded = load_file(data, mapping)
        _refuse_too_many(loaded.rows.num_rows, too_many)
        source = {"file": data.name, "read": loaded.read, "unparsable": loaded.unparsable}
        return loaded.rows, source | {"duplicates": loaded.duplicates}
    if mapping:
        raise UsageError("--map is for --data.", hint="Name the file with --data, or leave --map out.")
    from fraudstream.store import training_rows

    postgres = postgres or database()
    stored = training_rows.stored(postgres, since)
    _refuse_too_many(stored, "Read only the last months, for example with --since 90d")
    rows = training_rows.transactions(postgres, since)
    if not rows.num_rows:
        raise _nothing(since)
    log.info("%s transactions from PostgreSQL", f"{rows.num_rows:,}")
    return rows, {"database": postgres.database, "read": rows.num_rows}


def _refuse_too_many(rows: int, instead: str) -> None:
    import psutil

    memory.refuse_too_many(rows, memory.available(psutil.virtual_memory().available), instead)


def refuse_since(data: Path | None, since: "datetime | None") -> None:
    """Raise UsageError if `--since` was given next to a file, which is read completely."""
    if data is not None and since is not None:
        raise UsageError("--since is for what is stored in PostgreSQL.", hint="Leave out --since or --data.")


def _nothing(since: "datetime | None") -> InputError:
    if since is not None:
        said = f"PostgreSQL has no transactions since {since:%Y-%m-%d %H:%M:%S} UTC."
        return InputError(said, hint="Give an earlier --since, or leave it out.")
    return InputError(
        "PostgreSQL has no transactions yet.",
        hint="Create some history with `fraudstream produce --days 60 --history-only` and `fraudstream consume --once`.",
    )


def load_file(
    path: Path, mapping: list[str] | None, *, with_risk: bool = False, with_truth: bool = True
) -> "Loaded":
    """The file's transactions; skipped rows are reported on stderr."""
    from fraudstream.model import tables

    given = tables.parse_map(mapping or [])
    loaded = tables.read_transactions(path, given, with_risk=with_risk, with_truth=with_truth)
    if loaded.unparsable:
        log.warning("%d of %d rows could not be read and were skipped:", loaded.unparsable, loaded.read)
        for bad in loaded.examples:
            log.warning("  row %d: %s", bad.row, bad.reason)
    if loaded.duplicates:
        log.warning("%d rows repeat a transaction_id; the first of each was kept", loaded.duplicates)
    for note in loaded.notes:
        log.warning("%s", note)
    return loaded
