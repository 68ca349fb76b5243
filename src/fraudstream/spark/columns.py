"""Columns that are built once and added to one query after another.

PySpark makes several calls to the JVM for each column of each step, and each waits for a thread of the other
process to be scheduled: the two thousand calls that a query of the scorer took were 0.8 s on an idle machine and 6 to 8 s
beside a busy consumer, while decisions waited for the next query.
"""

from collections.abc import Mapping
from typing import Any

from pyspark.sql import Column, DataFrame


class Columns:
    """Named columns that the JVM holds as a map: adding them to rows takes one call."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._columns = dict(columns)
        self._map: Any = None

    def add(self, rows: DataFrame) -> DataFrame:
        """`rows.withColumns` of these columns."""
        session = rows.sparkSession
        if self._map is None:
            self._map = session._jvm.java.util.LinkedHashMap()  # type: ignore[union-attr]  # noqa: SLF001
            for name, column in self._columns.items():
                self._map.put(name, column._jc)  # noqa: SLF001
        return DataFrame(rows._jdf.withColumns(self._map), session)  # noqa: SLF001
