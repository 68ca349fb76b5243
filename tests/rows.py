"""What stands in a database, for tests that look."""

from typing import Any

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connect


def query(postgres: PostgresSettings, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with connect(postgres) as connection:
        return connection.execute(sql.encode(), values or None).fetchall()
