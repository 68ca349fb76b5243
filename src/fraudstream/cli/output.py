"""What commands print: documents and tables on stdout, errors in one shape."""

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import date
from typing import Annotated, Any

import typer

from fraudstream.errors import FraudstreamError, OutputError
from fraudstream.logs import get_logger, is_structured, printable

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
"""The option of every command that reports."""


def print_document(document: dict[str, Any]) -> None:
    """Print one JSON document, for scripts."""
    sys.stdout.write(json.dumps(document, indent=2, default=_plain, allow_nan=False) + "\n")


def print_line(document: dict[str, Any]) -> None:
    """Print one JSON document on a line of its own, and flush."""
    sys.stdout.write(json.dumps(document, default=_plain, allow_nan=False) + "\n")
    sys.stdout.flush()


def _plain(value: object) -> str:
    """A value that JSON has no type for, as a string: a timestamp or date in ISO 8601."""
    return value.isoformat() if isinstance(value, date) else str(value)


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], whole: Collection[str] = ()
) -> None:
    """Print a table for people; cells of the columns `whole` are never broken, so that they can be copied.

    If they need more than the terminal's width, the terminal wraps the lines, as a truncated cell could not be copied.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Text, not str: a title or a cell may hold untrusted text, which rich would interpret as markup.
    shown = Text(printable(title), "table.title")
    table = Table(title=shown, title_justify="left", header_style="bold")
    cells = [[Text(printable(str(cell))) for cell in row] for row in rows]
    needed = 1
    for place, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=column in whole)
        told = [row[place].plain for row in cells] if column in whole else []
        needed += max(map(cell_len, (column, *told))) + 3  # a border and a space on both sides
    for row in cells:
        table.add_row(*row)
    console = Console()
    if whole and console.width < needed:
        console = Console(width=needed)
    console.print(table)


def print_error(error: FraudstreamError, *, as_json: bool) -> None:
    """Print what happened and what to do next: JSON on stdout with `--json`, else a sentence on stderr."""
    # If stdout cannot be written, the sentence on stderr has to do.
    if as_json and not isinstance(error, OutputError):
        with suppress(OutputError):
            print_line(error.document())
            return
    if is_structured():
        get_logger("cli").error(error.message, extra={"error": error.document()["error"]})
        return
    sys.stderr.write(f"Error: {printable(error.message)}\n")
    if error.hint:
        sys.stderr.write(f"  Next: {printable(error.hint)}\n")
