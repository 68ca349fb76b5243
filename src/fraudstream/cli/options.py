"""Options that several commands take, and a word where some were given that do not go together."""

from typing import Annotated

import typer

from fraudstream.errors import UsageError

Map = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="THEIRS=OURS", help="A column of the file for our field; may be repeated."),
]
"""Of commands that read a file of somebody else's."""


def refuse(context: typer.Context, panel: str, why: str) -> None:
    """Raise UsageError where an option of this help panel was given: silence would look like obedience."""
    for option in context.command.params:
        said = option.name and context.get_parameter_source(option.name)
        if getattr(option, "rich_help_panel", None) == panel and said and said.name == "COMMANDLINE":
            raise UsageError(
                f"{option.opts[0]} {why}.", hint=f"`{context.command_path} --help` shows which go together."
            )
