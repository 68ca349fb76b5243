"""What a worker of Spark needs to store decisions, and nothing more."""

import subprocess
import sys

from sqlalchemy import Table

from fraudstream.store import scores, tables


def columns(table: Table) -> set[str]:
    """Those that come with a decision: the others have defaults."""
    return {column.name for column in table.columns if column.server_default is None}


def test_every_column_of_the_tables_is_stored() -> None:
    assert set(scores.SCORES) == columns(tables.scores)
    assert set(scores.ALERTS) == columns(tables.alerts)


def test_workers_load_no_sqlalchemy() -> None:
    """Each start of Spark loads them, and so does each recovery from a killed worker; only migrating needs it."""
    code = "import sys, fraudstream.spark.daemon; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
