"""What commands ask before they delete."""

import typer


def agreed(question: str) -> bool:
    """Whether the user said yes; a script that cannot answer learns what to write instead."""
    try:
        said = typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo("\nNothing was deleted; `--yes` deletes without asking.", err=True)
        raise
    if not said:
        typer.echo("Nothing was deleted.", err=True)
    return said
