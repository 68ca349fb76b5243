"""What the messages of a topic are stored as. Targets own offsets; consumers come and go."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fraudstream.errors import InputError
from fraudstream.store.copy import insert_new

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

Write = Callable[["psycopg.Cursor[tuple[Any, ...]]", "pa.Table"], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Target:
    """A name that owns offsets, and how it stores decoded transactions.

    `write(cursor, rows)` stores what of `rows` (with `schema.arrow_schema()`) is its own, in the
    caller's transaction, and returns how many rows it stored and how many were there already.
    """

    name: str
    write: Write


def _write_transactions(cursor: "psycopg.Cursor[tuple[Any, ...]]", rows: "pa.Table") -> tuple[int, int]:
    import pyarrow.compute as pc

    return _insert(cursor, "transactions", rows.filter(pc.invert(pc.fill_null(rows["is_fraud"], False))))


def _write_fraud(cursor: "psycopg.Cursor[tuple[Any, ...]]", rows: "pa.Table") -> tuple[int, int]:
    return _insert(cursor, "fraud_transactions", rows.filter(rows["is_fraud"]))


def _insert(cursor: "psycopg.Cursor[tuple[Any, ...]]", table: str, rows: "pa.Table") -> tuple[int, int]:
    stored = insert_new(cursor, table, rows)
    return stored, rows.num_rows - stored


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (Target("fraud", _write_fraud), Target("transactions", _write_transactions))
}
"""Sorted by name: every transaction locks its offset rows in this order, so two never wait for each other."""


def select(names: list[str]) -> list[Target]:
    """The targets of these names, each once, in locking order. Raises InputError for an unknown name."""
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        raise InputError(
            f"There is no target {', '.join(unknown)}.", hint=f"The targets are {', '.join(TARGETS)}, or all."
        )
    return [target for name, target in TARGETS.items() if name in names]
