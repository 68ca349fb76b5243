"""`fraudstream config`: the settings in force."""

from typing import Any

import typer

from fraudstream.cli.output import Json, print_document, print_table
from fraudstream.logs import log_format

INTRODUCTION = """# Settings

Flags override environment variables, which override lines in `.env`, which override the defaults. With nothing set,
Kafka and PostgreSQL are the embedded ones that `fraudstream up` starts. `fraudstream config show` prints the settings in
force, with secrets masked; `fraudstream config document` prints this page. A `${…}` in `.env`
is not replaced: it may be part of a password.
"""

group = typer.Typer(name="config", help="Show the settings in force.", no_args_is_help=True)


@group.command()
def show(as_json: Json = False) -> None:
    """Print every setting in force, with the name of its environment variable; secrets are masked."""
    from fraudstream.settings import PREFIX, load

    document = load().model_dump(mode="json") | {"log_format": log_format().value}
    if as_json:
        print_document(document)
    else:
        rows = [(PREFIX + path, "" if value is None else value) for path, value in _flat(document)]
        print_table("Settings in force", ("name", "value"), rows)


@group.command()
def document() -> None:
    """Print docs/settings.md: every setting with its default and its meaning."""
    from fraudstream.settings import described

    typer.echo(INTRODUCTION)
    typer.echo("| name | default | meaning |\n|---|---|---|")
    for name, setting in described().items():
        typer.echo(f"| `{name}` | {f'`{setting.default}`' if setting.default else ''} | {setting.meaning} |")


def _flat(document: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in document.items():
        path = f"{above}__{name.upper()}" if above else name.upper()
        rows += _flat(value, path) if isinstance(value, dict) else [(path, value)]
    return rows
