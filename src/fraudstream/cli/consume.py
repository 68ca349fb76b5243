"""`fraudstream consume`: Kafka to PostgreSQL."""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fraudstream.cli import options
from fraudstream.cli.options import MetricsPort
from fraudstream.cli.output import Json, print_document
from fraudstream.errors import ExitCode

if TYPE_CHECKING:
    from fraudstream.spark.consumer import Summary


class Targets(StrEnum):
    """What to store."""

    TRANSACTIONS = "transactions"
    FRAUD = "fraud"
    PROFILES = "profiles"
    SCORES = "scores"
    ALL = "all"


Once = Annotated[
    bool, typer.Option("--once", help="Stop once everything that is in the topic now is stored.")
]
Topic = Annotated[str | None, typer.Option(help="The topic to read; with `all`, the transactions topic.")]
Servers = Annotated[str | None, options.servers()]
AcceptLoss = Annotated[bool, options.accept_loss()]


def consume(
    targets: Annotated[Targets, typer.Argument(help="What to store.")] = Targets.ALL,
    once: Once = False,
    topic: Topic = None,
    bootstrap_servers: Servers = None,
    accept_loss: AcceptLoss = False,
    metrics_port: MetricsPort = None,
    as_json: Json = False,
) -> None:
    """Store the stream in PostgreSQL, each message exactly once.

    `shop.fraud_transactions` gets transactions whose message says `is_fraud`, `shop.transactions` all others (a later
    label moves none), `shop.profiles` the profiles of users, devices, places and merchants (there `stored` counts the
    transactions added to them), and `shop.rejected` the messages that could not be read. `shop.scores`
    gets the decisions of `fraudstream score`, and `shop.alerts` the flagged ones with their reasons. Runs
    until Ctrl-C, or with --once until it has caught up.
    """
    from fraudstream.spark.consume import run_consumer

    read = "scored_topic" if targets is Targets.SCORES else "transactions_topic"
    flags: dict[str, dict[str, Any]] = {
        "kafka": {read: topic, "bootstrap_servers": bootstrap_servers},
        "metrics": {"port": metrics_port},
    }
    everything = tuple(target.value for target in Targets if target is not Targets.ALL)
    names = everything if targets is Targets.ALL else (targets.value,)
    summary = run_consumer(names, flags, once=once, accept_loss=accept_loss)
    report(summary, as_json=as_json)
    if summary.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)


def report(summary: "Summary", *, as_json: bool) -> None:
    """Print what was stored: a document, or a sentence for each target."""
    document = _document(summary)
    if as_json:
        print_document(document)
        return
    for name, counts in document["targets"].items():
        typer.echo(f"{name}: {counts['stored']:,} stored, {counts['duplicates']:,} already stored")
    if summary.refused:
        typer.echo(f"{summary.refused:,} transactions could not be read by the scorer and have no decision")
    if summary.from_future:
        typer.echo(f"{summary.from_future:,} are dated in the future: stored, but left out of the profiles")
    typer.echo(f"{summary.rejected:,} rejected, in {summary.seconds:.1f} s")
    if summary.rejected:
        typer.echo("`fraudstream rejected list` shows what could not be read, and why.")


def _document(summary: "Summary") -> dict[str, Any]:
    return {
        "targets": {
            name: {"stored": summary.stored[name], "duplicates": summary.duplicates[name]}
            for name in summary.targets
        },
        "rejected": summary.rejected,
        "refused": summary.refused,
        "unknown_fields": summary.unknown_fields,
        "from_future": summary.from_future,
        "restarts": summary.restarts,
        "seconds": round(summary.seconds, 3),
    }


def _alias(target: Targets) -> Callable[..., None]:
    """`consume` with its target, as a command of one word."""

    def command(
        once: Once = False,
        topic: Topic = None,
        bootstrap_servers: Servers = None,
        accept_loss: AcceptLoss = False,
        metrics_port: MetricsPort = None,
        as_json: Json = False,
    ) -> None:
        consume(target, once, topic, bootstrap_servers, accept_loss, metrics_port, as_json)

    command.__name__ = f"consume_{target}"
    command.__doc__ = f"Same as `consume {target}`."
    return command


ALIASES = tuple(map(_alias, (Targets.TRANSACTIONS, Targets.FRAUD)))
