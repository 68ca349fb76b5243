"""Confirmation before a command deletes anything."""

import typer

from fraudstream.errors import UsageError


def agreed(question: str) -> bool:
    """Whether the user said yes. Raises UsageError if nobody can answer, with the option that a script needs."""
    try:
        said = typer.confirm(question, err=True)
    except typer.Abort as aborted:
        typer.echo(err=True)
        if isinstance(aborted.__context__, EOFError):
            raise UsageError(
                "Nothing was deleted: nobody answered the question.",
                hint="Add --yes to delete without asking.",
            ) from None
        typer.echo("Nothing was deleted; `--yes` deletes without asking.", err=True)
        raise
    if not said:
        typer.echo("Nothing was deleted.", err=True)
    return said
