"""`fraudstream demo`: see it all work, in one command."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from fraudstream.cli.output import Json, print_document
from fraudstream.errors import ExitCode

if TYPE_CHECKING:
    from fraudstream.demo.story import Ending
    from fraudstream.demo.view import Lines, Terminal
    from fraudstream.settings import Settings


def demo(
    duration: Annotated[
        float | None,
        typer.Option(min=1, metavar="SECONDS", help="Stop so many seconds after the first live decision."),
    ] = None,
    rate: Annotated[float, typer.Option(min=1, max=200, help="Live payments a second.")] = 12.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same customers.")] = 42,
    no_dashboard: Annotated[bool, typer.Option("--no-dashboard", help="Do not start the dashboard.")] = False,
    as_json: Json = False,
) -> None:
    """Run everything at once: services, simulated customers, a model, live decisions and explained alerts.

    Needs Java 17 to 21 and nothing else: no Docker, no account, no settings. Everything it makes is in the embedded
    services, where `alerts`, `label` and `dashboard` find it afterwards; `reset` deletes it.
    """
    from fraudstream.demo.crowd import Crowd
    from fraudstream.demo.story import run
    from fraudstream.settings import load_bare

    settings = load_bare()
    ending = run(
        settings, Crowd(seed=seed, rate=rate), _watcher(), _nobody if no_dashboard else _pages, duration
    )
    if as_json:
        print_document(ending.document())
    else:
        _tell(ending, settings)
    if ending.interrupted and duration is not None:
        raise typer.Exit(ExitCode.INTERRUPTED)


def _watcher() -> "Terminal | Lines":
    from fraudstream.demo.view import Lines, Terminal
    from fraudstream.logs import console, is_structured

    if not sys.stderr.isatty() or console().is_dumb_terminal or is_structured():
        return Lines()
    return Terminal(console())


@contextmanager
def _nobody(_settings: "Settings") -> Iterator[str | None]:
    yield None


@contextmanager
def _pages(settings: "Settings") -> Iterator[str | None]:
    """The dashboard next to the stream. If it cannot start, the demo logs why and continues without it."""
    from fraudstream.dashboard.launch import EMBEDDED, started
    from fraudstream.errors import FraudstreamError
    from fraudstream.logs import get_logger

    with ExitStack() as stack:
        try:
            address = stack.enter_context(started(settings.dashboard, EMBEDDED)).url
        except FraudstreamError as error:
            get_logger("demo").warning(
                "%s The demo continues without the pages. %s", error.message, error.hint
            )
            address = None
        yield address


def _tell(ending: "Ending", settings: "Settings") -> None:
    """Print what happened, and what to try next."""
    from fraudstream.cli.alert_text import command
    from fraudstream.demo.view import headline, latency, result
    from fraudstream.logs import on_one_line
    from fraudstream.store.alerts import LISTED

    glance = ending.glance
    typer.echo(f"{glance.decisions:,} payments decided, {glance.alerts:,} alerts: {result(glance)}.")
    if glance.bursts_missed:
        typer.echo(
            f"Of those missed, {glance.bursts_missed:,} belong to bursts of purchases within minutes, which pass in seconds here, as"
            " the customers' time runs fast: profiles are older than that. In real time, most are found."
        )
    if glance.decisions:
        typer.echo(f"Latency: {latency(glance)}.")
    if ending.first_alert is not None:
        alert = ending.first_alert
        typer.echo(f"The first alert came {ending.seconds_to_first_alert:.0f} s after the start:")
        typer.echo(f"  {headline(alert)}")
        for sentence in alert.sentences[:LISTED]:
            typer.echo(f"  - {sentence}")
        explain = command("alerts explain", alert.transaction_id)
        label = command("label", alert.transaction_id, "--fraud")
        typer.echo(on_one_line(f"Full explanation: {explain}"))
        typer.echo(on_one_line(f"Label it: {label} (or --legit)"))
    typer.echo("Dashboard: fraudstream dashboard. Stop the services: fraudstream down.")
    if names := _misleading(settings):
        address = settings.postgres.address
        why = (
            f"point these commands at {address}, which"
            if address
            else "are of a PostgreSQL without a host, and"
        )
        typer.echo(f"But first unset {', '.join(names)}, here or in .env: they {why} the demo did not use.")


def _misleading(settings: "Settings") -> list[str]:
    """The variables that lead other commands to a PostgreSQL that is not the demo's."""
    from fraudstream.settings import PREFIX, on_embedded, parts_of_address

    postgres = settings.postgres
    if postgres.address == on_embedded(settings).postgres.address:
        return []
    if postgres.host is None:
        return parts_of_address(postgres)
    return [f"{PREFIX}POSTGRES__{name.upper()}" for name in sorted(postgres.model_fields_set)]
