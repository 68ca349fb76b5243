"""Options that several commands take, and the error for options that do not go together."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from fraudstream.errors import UsageError


def mapping(panel: str | None = None) -> Any:
    """`--map`, of commands that read a file with columns of other names. `panel` is its panel in the help."""
    return typer.Option(
        "--map",
        metavar="THEIRS=OURS",
        help="Which column of the file is which field; may be repeated.",
        rich_help_panel=panel,
    )


def epoch(panel: str) -> Any:
    """`--epoch`, of commands that read payments in other formats."""
    return typer.Option(
        "--epoch",
        help="Timestamps are numbers: seconds, milliseconds or microseconds since 1970.",
        rich_help_panel=panel,
    )


UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def when(text: str) -> datetime:
    """Parse an age such as `2h`, or a timestamp."""
    from fraudstream.schema import parse_instant

    try:
        if text[-1:] in UNITS:
            return datetime.now(UTC) - float(text[:-1]) * UNITS[text[-1]]
        return parse_instant(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter("an ISO 8601 date and time, or how long ago: 30m, 2h, 7d") from None


def since(what: str) -> Any:
    """`--since`, of commands that read what is stored. `what` begins its help."""
    return typer.Option(
        "--since", parser=when, metavar="WHEN", help=f"{what}: ISO 8601, or an age such as 30m, 2h or 7d."
    )


def servers(panel: str | None = None) -> Any:
    """`--bootstrap-servers`, of commands that reach Kafka."""
    return typer.Option(
        help="Kafka bootstrap servers: host:port, separated by commas.", rich_help_panel=panel
    )


def accept_loss(panel: str | None = None) -> Any:
    """`--accept-loss`, of streams."""
    text = "Accept that Kafka deleted messages before this start that were not read."
    return typer.Option("--accept-loss", help=text, rich_help_panel=panel)


def metrics_port(panel: str | None = None) -> Any:
    """`--metrics-port`, of every long-running command."""
    text = "Serve /metrics and /healthz while it runs; 0 takes any free port."
    return typer.Option(min=0, max=65535, help=text, rich_help_panel=panel)


Map = Annotated[list[str] | None, mapping()]
StoredSince = Annotated[datetime | None, since("Read from PostgreSQL only payments since")]
MetricsPort = Annotated[int | None, metrics_port()]


def refuse(context: typer.Context, panel: str, why: str) -> None:
    """Raise UsageError if an option of this help panel was given: ignoring it silently would suggest that it took effect."""
    for option in context.command.params:
        said = option.name and context.get_parameter_source(option.name)
        if getattr(option, "rich_help_panel", None) == panel and said and said.name == "COMMANDLINE":
            raise UsageError(
                f"{option.opts[0]} {why}.", hint=f"`{context.command_path} --help` shows which go together."
            )
