"""Sums that many slices add to the same rows, such as those of the current hour, each in its own transaction."""

from collections.abc import Callable, Iterable, Mapping
from operator import add
from typing import Any

import numpy as np
from psycopg import sql

from fraudstream.arrays import Integers
from fraudstream.store.connection import SCHEMA, Cursor


class Sums:
    """What one slice adds to a table of sums.

    It is added up here and merged once, at the slice's end, in the order of the keys: a row that all partitions share is
    locked last, for the shortest time, and two transactions cannot each wait for a row that the other one has locked.
    """

    def __init__(
        self, cursor: Cursor, table: str, keys: Mapping[str, str], values: Mapping[str, str]
    ) -> None:
        """`keys` and `values` are the columns, with their types in SQL."""
        self._cursor = cursor
        self._statement = _merge(table, keys, values)
        self._sums: dict[tuple[Any, ...], tuple[float, ...]] = {}

    def add(self, key: tuple[Any, ...], *amounts: float) -> None:
        """Add an amount to each of the values of a key."""
        before = self._sums.get(key)
        self._sums[key] = amounts if before is None else tuple(map(add, before, amounts))

    def count(self, columns: tuple[Integers, ...], key: Callable[..., tuple[Any, ...]]) -> None:
        """Add 1 for each row of `columns` to the key that `key` makes of its numbers."""
        found, counts = np.unique(np.column_stack(columns), axis=0, return_counts=True)
        for numbers, count in zip(found.tolist(), counts.tolist(), strict=True):
            self.add(key(*numbers), count)

    def merge(self) -> None:
        """Add all of it to the table."""
        if self._sums:
            rows = [(*key, *amounts) for key, amounts in sorted(self._sums.items())]
            self._cursor.execute(self._statement, [list(column) for column in zip(*rows, strict=True)])


def _merge(table: str, keys: Mapping[str, str], values: Mapping[str, str]) -> sql.Composed:
    columns = {**keys, **values}
    return sql.SQL(
        "insert into {table} as t ({columns}) select * from unnest({arrays})"
        " on conflict ({keys}) do update set {sums}"
    ).format(
        table=sql.Identifier(SCHEMA, table),
        columns=_listed(map(sql.Identifier, columns)),
        arrays=_listed(sql.SQL(f"%s::{kind}[]") for kind in columns.values()),
        keys=_listed(map(sql.Identifier, keys)),
        sums=_listed(sql.SQL("{0} = t.{0} + excluded.{0}").format(sql.Identifier(name)) for name in values),
    )


def _listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
