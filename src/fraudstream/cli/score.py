"""`fraudstream score`: a decision for every transaction, live."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fraudstream.cli import options
from fraudstream.cli.output import Json, print_document
from fraudstream.errors import ExitCode
from fraudstream.spark.mode import Mode

if TYPE_CHECKING:
    from fraudstream.spark.scorer import Summary

_STREAM = "The stream"
_KAFKA = "Kafka"


_FILE = "A file instead of the stream"

HowItRuns = Annotated[
    Mode,
    typer.Option(
        "--mode",
        help="realtime decides in milliseconds; microbatch also runs models in Python.",
        rich_help_panel=_STREAM,
    ),
]
Rules = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="YAML file of rules; default: FRAUDSTREAM_SCORE__RULES.",
        rich_help_panel=_STREAM,
    ),
]
FromBeginning = Annotated[
    bool,
    typer.Option(
        "--from-beginning",
        help="On the first start, also score what is already in the topic.",
        rich_help_panel=_STREAM,
    ),
]
Topic = Annotated[str | None, typer.Option(help="The topic to read.", rich_help_panel=_KAFKA)]
ScoredTopic = Annotated[str | None, typer.Option(help="The topic for decisions.", rich_help_panel=_KAFKA)]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FILE|-",
        help="Score a CSV, Parquet or NDJSON file, or NDJSON from stdin as it arrives; one decision per line of stdout.",
        rich_help_panel=_FILE,
    ),
]
FileMap = Annotated[list[str] | None, options.mapping(_FILE)]
FileModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A directory that `train --output` wrote, or a version.",
        show_default="the champion",
        rich_help_panel=_FILE,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", help="Write .csv, .parquet or .ndjson instead.", rich_help_panel=_FILE),
]
StoredProfiles = Annotated[
    bool,
    typer.Option(
        "--profiles",
        help="Start from the profiles in PostgreSQL instead of empty ones.",
        rich_help_panel=_FILE,
    ),
]
Verdicts = Annotated[
    bool,
    typer.Option(
        "--with-verdicts",
        help="Use the file's is_fraud for later rows once it is known, as in `evaluate`.",
        rich_help_panel=_FILE,
    ),
]


def score(
    context: typer.Context,
    mode: HowItRuns = Mode.REALTIME,
    rules: Rules = None,
    from_beginning: FromBeginning = False,
    accept_loss: Annotated[bool, options.accept_loss(_STREAM)] = False,
    topic: Topic = None,
    scored_topic: ScoredTopic = None,
    bootstrap_servers: Annotated[str | None, options.servers(_KAFKA)] = None,
    metrics_port: Annotated[int | None, options.metrics_port(_STREAM)] = None,
    data: Data = None,
    mapping: FileMap = None,
    model: FileModel = None,
    output: Output = None,
    profiles: StoredProfiles = False,
    with_verdicts: Verdicts = False,
    as_json: Json = False,
) -> None:
    """Score every transaction as it arrives, Kafka to Kafka, with the champion model.

    Each message of the transactions topic gets a decision in the scored topic (or a refusal that says
    why it is not a transaction), at least once; consumers should keep the first. Runs until Ctrl-C. The next start
    resumes where this one stopped; the very first one begins with the next new message.

    With --data it scores a file or a pipe without Spark and Kafka, and with --model DIR also without PostgreSQL.
    """
    if data is not None:
        options.refuse(context, _STREAM, "is for the stream, not for --data")
        options.refuse(context, _KAFKA, "is for the stream, not for --data")
        from fraudstream.cli import score_file

        request = score_file.Request(data, mapping, model, output, profiles, with_verdicts)
        score_file.run(request, as_json=as_json)
        return
    options.refuse(context, _FILE, "is for --data")
    from fraudstream.spark.score import run_scorer

    flags: dict[str, dict[str, Any]] = {
        "kafka": {
            "transactions_topic": topic,
            "scored_topic": scored_topic,
            "bootstrap_servers": bootstrap_servers,
        },
        "score": {"rules": rules},
        "metrics": {"port": metrics_port},
    }
    summary = run_scorer(mode, flags, accept_loss=accept_loss, from_beginning=from_beginning)
    report(summary, as_json=as_json)
    if summary.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)


def report(summary: "Summary", *, as_json: bool) -> None:
    """Print what was decided: a document, or two sentences."""
    document = _document(summary)
    if as_json:
        print_document(document)
        return
    typer.echo(
        f"{document['decisions']:,} decisions, {document['flagged']:,} flagged, {document['refused']:,} could not be read"
        f" in {summary.seconds:.1f} s by model {summary.model_version}"
    )
    if document["decisions"]:
        latency = document["latency_ms"]
        typer.echo(f"latency: p50 {latency['p50']} ms, p99 {latency['p99']} ms")


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
