"""`shop.hourly` against the tables that it sums up."""

from typing import Any

from fraudstream.features.catalogue import LARGEST_AMOUNT
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connect

Hours = dict[tuple[str, Any], tuple[int, float]]
"""(kind, hour) to count and amount; the amount to nine digits, as sums depend on their order."""


def hourly(postgres: PostgresSettings, *kinds: str) -> Hours:
    """What is kept."""
    return _hours(
        postgres, "select kind, hour, count, amount from shop.hourly where kind = any(%s)", list(kinds)
    )


def counted_hours(postgres: PostgresSettings, **tables: str) -> Hours:
    """What it should be: a group by over each table, by kind."""
    found: Hours = {}
    for kind, table in tables.items():
        query = (
            f"select '{kind}', date_trunc('hour', timestamp), count(*), sum(least(amount, {LARGEST_AMOUNT!r}))"
            f" from shop.{table} group by 2"
        )
        found |= _hours(postgres, query)
    return found


def _hours(postgres: PostgresSettings, query: str, *parameters: Any) -> Hours:
    with connect(postgres) as connection:
        rows = connection.execute(query.encode(), parameters or None).fetchall()
    return {(kind, hour): (count, float(f"{amount:.9g}")) for kind, hour, count, amount in rows}
