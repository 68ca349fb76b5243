"""What the messages of a topic are stored as. Targets own offsets; consumers come and go."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fraudstream.errors import InputError
from fraudstream.store.copy import insert_new

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

    from fraudstream.store.profiles import Folding

Write = Callable[["psycopg.Cursor[tuple[Any, ...]]", "pa.Table", "Folding"], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Target:
    """A name that owns offsets, and how it stores decoded transactions.

    `write(cursor, rows, folding)` stores what of `rows` (with `schema.arrow_schema()`) is its own, in the
    caller's transaction, and returns how many rows it stored and how many were there already. What
    belongs in the profiles it hands to `folding`, which the caller finishes once for the slice.
    """

    name: str
    write: Write


def _write_transactions(
    cursor: "psycopg.Cursor[tuple[Any, ...]]", rows: "pa.Table", folding: "Folding"
) -> tuple[int, int]:
    import pyarrow.compute as pc

    legitimate = rows.filter(pc.invert(pc.fill_null(rows["is_fraud"], False)))
    return _insert(cursor, "transactions", legitimate, folding)


def _write_fraud(
    cursor: "psycopg.Cursor[tuple[Any, ...]]", rows: "pa.Table", folding: "Folding"
) -> tuple[int, int]:
    return _insert(cursor, "fraud_transactions", rows.filter(rows["is_fraud"]), folding)


def _insert(
    cursor: "psycopg.Cursor[tuple[Any, ...]]", table: str, rows: "pa.Table", folding: "Folding"
) -> tuple[int, int]:
    new = insert_new(cursor, table, rows, "transaction_id")
    folding.stored(rows, new)
    return new.num_rows, rows.num_rows - new.num_rows


def _fold(
    _cursor: "psycopg.Cursor[tuple[Any, ...]]", rows: "pa.Table", folding: "Folding"
) -> tuple[int, int]:
    return folding.add(rows)


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("fraud", _write_fraud),
        Target("transactions", _write_transactions),
        Target("profiles", _fold),
    )
}
"""In the order in which they write: the tables first, as they know which transactions the profiles have counted."""


def select(names: list[str]) -> list[Target]:
    """The targets of these names, each once, in the order of TARGETS. Raises InputError for an unknown name."""
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        raise InputError(
            f"There is no target {', '.join(unknown)}.", hint=f"The targets are {', '.join(TARGETS)}, or all."
        )
    return [target for name, target in TARGETS.items() if name in names]
