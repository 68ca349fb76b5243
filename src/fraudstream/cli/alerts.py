"""`fraudstream alerts`: what was flagged, and why, in plain words."""

import sys
import time
from datetime import datetime
from typing import Annotated

import typer

from fraudstream.cli import inputs
from fraudstream.cli.alert_document import alert_document, explanation_document
from fraudstream.cli.options import since
from fraudstream.cli.output import Json, print_document
from fraudstream.errors import DatabaseUnreachable
from fraudstream.logs import get_logger

log = get_logger("alerts")

group = typer.Typer(name="alerts", help="What was flagged, and why.", no_args_is_help=True)

POLL_SECONDS = 1.0
"""Seconds between two queries of `tail`."""
PAUSE_SECONDS = 2.0
"""Seconds before `tail` tries again if PostgreSQL did not respond."""

Limit = Annotated[int, typer.Option(min=1, help="Show at most this many.")]
Since = Annotated[datetime | None, since("Decided since")]
Unreviewed = Annotated[bool, typer.Option("--unreviewed", help="Only those without a label.")]
User = Annotated[str | None, typer.Option(help="Only this customer's.")]
MinRisk = Annotated[float, typer.Option(min=0, max=1, help="Only those of at least this risk.")]


@group.command("list")
def list_alerts(
    limit: Limit = 20,
    since: Since = None,
    unreviewed: Unreviewed = False,
    user: User = None,
    min_risk: MinRisk = 0.0,
    as_json: Json = False,
) -> None:
    """List what was flagged, the newest decision first."""
    from fraudstream.cli import alert_text
    from fraudstream.store import alerts

    found = alerts.alerts(
        inputs.database(), limit=limit, since=since, unreviewed=unreviewed, user_id=user, min_risk=min_risk
    )
    if as_json:
        print_document({"alerts": [alert_document(alert) for alert in found]})
    elif found:
        alert_text.show_list(found)
    else:
        typer.echo("No alert.")


@group.command()
def tail(
    user: User = None,
    min_risk: MinRisk = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document per alert, each on a line.")
    ] = False,
) -> None:
    """Follow new alerts as they are stored, until Ctrl-C. Waits while PostgreSQL is unavailable."""
    from fraudstream.cli import alert_text
    from fraudstream.store.alert_feed import Feed

    postgres = inputs.database()
    feed = Feed(postgres)
    if sys.stderr.isatty():
        log.info("waiting for alerts; stop with Ctrl-C")
    lost_since: float | None = None
    while True:
        try:
            new = feed.step()
        except DatabaseUnreachable as error:
            lost_since = _lost(error, lost_since, postgres.retry_seconds)
            time.sleep(PAUSE_SECONDS)
            continue
        if lost_since is not None:
            log.warning("PostgreSQL answers again; nothing was missed")
            lost_since = None
        for alert in new:
            if alert.risk >= min_risk and user in (None, alert.user_id):
                alert_text.show_line(alert, as_json=as_json)
        time.sleep(POLL_SECONDS)


def _lost(error: DatabaseUnreachable, since: float | None, patience: float) -> float:
    """When PostgreSQL was lost, which is logged once. Raises `error` once `patience` seconds have passed."""
    now = time.monotonic()
    if since is None:
        log.warning("%s Waiting for it.", error.message)
        return now
    if now - since > patience:
        raise error
    return since


@group.command()
def explain(
    transaction_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the transaction.")],
    as_json: Json = False,
) -> None:
    """Explain why a transaction was flagged or not: reasons, rules, and the customer's payments around it."""
    from fraudstream.cli import alert_text
    from fraudstream.store import explanation

    found = explanation.explain(inputs.database(), transaction_id)
    if as_json:
        print_document(explanation_document(found))
    else:
        alert_text.show(found)
