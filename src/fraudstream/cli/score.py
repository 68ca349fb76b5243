"""`fraudstream score`: a decision for every transaction, live."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fraudstream.cli.output import Json, print_document
from fraudstream.errors import ExitCode

if TYPE_CHECKING:
    from fraudstream.spark.scorer import Summary

_KAFKA = "Kafka"


class Mode(StrEnum):
    """How Spark runs the stream."""

    realtime = "realtime"
    microbatch = "microbatch"


def score(
    mode: Annotated[
        Mode, typer.Option(help="realtime answers in milliseconds; microbatch also scores models in Python.")
    ] = Mode.realtime,
    rules: Annotated[Path | None, typer.Option(metavar="FILE", help="The operator's rules, YAML.")] = None,
    from_beginning: Annotated[
        bool,
        typer.Option(
            "--from-beginning", help="A first start scores what is in the topic, not only what comes."
        ),
    ] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on where Kafka deleted messages before they were read.")
    ] = False,
    topic: Annotated[str | None, typer.Option(help="The topic to read.", rich_help_panel=_KAFKA)] = None,
    scored_topic: Annotated[
        str | None, typer.Option(help="The topic for decisions.", rich_help_panel=_KAFKA)
    ] = None,
    bootstrap_servers: Annotated[
        str | None, typer.Option(help="Bootstrap servers, host:port with commas.", rich_help_panel=_KAFKA)
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge every transaction as it comes: Kafka to Kafka, by the champion model.

    Each message of the transactions topic gets a decision in the scored topic (or a refusal that says
    why it is no transaction), at least once; readers keep the first. Runs until Ctrl-C. The next start
    goes on where this one ended; the very first one begins with the next message.
    """
    from fraudstream.spark.relay import Mode as StreamMode
    from fraudstream.spark.scorer import run_scorer

    flags: dict[str, dict[str, Any]] = {
        "kafka": {
            "transactions_topic": topic,
            "scored_topic": scored_topic,
            "bootstrap_servers": bootstrap_servers,
        },
        "score": {"rules": rules},
    }
    summary = run_scorer(
        StreamMode(mode.value), flags, accept_loss=accept_loss, from_beginning=from_beginning
    )
    report(summary, as_json=as_json)
    if summary.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)


def report(summary: "Summary", *, as_json: bool) -> None:
    """Print what was answered: a document, or two sentences."""
    document = _document(summary)
    if as_json:
        print_document(document)
        return
    typer.echo(
        f"{document['decisions']:,} decisions, {document['flagged']:,} flagged, {document['refused']:,} refused"
        f" in {summary.seconds:.1f} s by model {summary.model_version}"
    )
    if document["decisions"]:
        latency = document["latency_ms"]
        typer.echo(f"half of them within {latency['p50']} ms, 99 % within {latency['p99']} ms")


def _document(summary: "Summary") -> dict[str, Any]:
    tally = summary.answers
    quantiles = {name: tally.latencies.quantile(share) for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {
        "mode": summary.mode.value,
        "model_version": summary.model_version,
        "decisions": tally.decisions,
        "flagged": tally.flagged,
        "refused": tally.refused,
        "repeated": tally.repeated,
        "latency_ms": {name: None if ms is None else round(ms, 1) for name, ms in quantiles.items()},
        "partitions": summary.partitions,
        "handovers": summary.handovers,
        "restarts": summary.restarts,
        "seconds": round(summary.seconds, 3),
    }


def register(app: typer.Typer) -> None:
    """Add this group's commands to the program."""
    app.command()(score)
