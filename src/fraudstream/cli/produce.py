"""`fraudstream produce`: transactions to Kafka, simulated or from a file."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudstream.cli import options
from fraudstream.cli.options import MetricsPort
from fraudstream.cli.output import Json, print_document, print_table
from fraudstream.errors import ExitCode, UsageError
from fraudstream.micros import Epoch

if TYPE_CHECKING:
    from fraudstream.producer import File, Rejects, Report, Simulation

SIMULATED = "Simulated world"
REPLAYED = "Replayed file"
WHERE = "Kafka"


def _rate(text: str) -> float:
    """Messages a second; `max` is infinite."""
    if text == "max":
        return math.inf
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0.001 <= rate <= 10_000_000:  # noqa: PLR2004 - beyond these it is a slip of the finger
        raise typer.BadParameter("a number of messages a second, or max")
    return rate


def _instant(text: str) -> datetime:
    from fraudstream.schema import parse_instant

    try:
        return parse_instant(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Rate = Annotated[
    float | None,
    typer.Option(
        parser=_rate,
        metavar="N|max",
        help="Messages a second.",
        show_default="100; max for a file and for a dry run",
    ),
]
Count = Annotated[int | None, typer.Option(min=0, help="Stop after this many messages.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the messages, one per line, and send nothing.")
]
Seed = Annotated[
    int,
    typer.Option(
        min=0,
        help="The same seed and --users give the same customers; with the same --start, --days and --rate, also the same payments.",
        rich_help_panel=SIMULATED,
    ),
]
Users = Annotated[int, typer.Option(min=1, help="Number of simulated customers.", rich_help_panel=SIMULATED)]
FraudRate = Annotated[
    float,
    typer.Option(min=0, max=0.5, help="Share of transactions that are fraud.", rich_help_panel=SIMULATED),
]
Scenario = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|list", help="Only this kind of fraud; `list` explains them.", rich_help_panel=SIMULATED
    ),
]
Days = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        max=36_500,
        help="First write the last N days, as fast as possible.",
        rich_help_panel=SIMULATED,
    ),
]
HistoryOnly = Annotated[
    bool,
    typer.Option(
        "--history-only", help="Stop once the history of --days is written.", rich_help_panel=SIMULATED
    ),
]
Start = Annotated[
    datetime | None,
    typer.Option(
        parser=_instant,
        metavar="ISO 8601",
        help="Start of the first day.",
        show_default="now, less --days; in a dry run 2025-01-01",
        rich_help_panel=SIMULATED,
    ),
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from", metavar="FILE", help="Replay a CSV, Parquet or NDJSON file.", rich_help_panel=REPLAYED
    ),
]
Map = Annotated[list[str] | None, options.mapping(REPLAYED)]
Fill = Annotated[
    list[str] | None,
    typer.Option(
        "--fill",
        metavar="OURS=VALUE",
        help="Value for a field that the file lacks; may be repeated.",
        rich_help_panel=REPLAYED,
    ),
]
Topic = Annotated[str | None, typer.Option(help="The topic to write to.", rich_help_panel=WHERE)]
Servers = Annotated[str | None, options.servers(WHERE)]
Partitions = Annotated[
    int | None,
    typer.Option(min=1, help="Partitions of the topic, if it does not exist yet.", rich_help_panel=WHERE),
]


def produce(
    context: typer.Context,
    rate: Rate = None,
    count: Count = None,
    dry_run: DryRun = False,
    seed: Seed = 42,
    users: Users = 3_000,
    fraud_rate: FraudRate = 0.005,
    scenario: Scenario = None,
    days: Days = None,
    history_only: HistoryOnly = False,
    start: Start = None,
    from_file: From = None,
    map_: Map = None,
    fill: Fill = None,
    epoch: Annotated[Epoch | None, options.epoch(REPLAYED)] = None,
    topic: Topic = None,
    bootstrap_servers: Servers = None,
    partitions: Partitions = None,
    metrics_port: MetricsPort = None,
    as_json: Json = False,
) -> None:
    """Send transactions to Kafka, simulated or from a file.

    Keyed by user, idempotent, acknowledged by all replicas. Runs until Ctrl-C unless --count,
    --history-only or --from limits it.
    """
    if scenario == "list":
        _explain(as_json=as_json)
        return
    from fraudstream import producer
    from fraudstream.metrics import ProduceMonitor, served
    from fraudstream.settings import load

    if dry_run and as_json:
        raise UsageError("--dry-run and --json both write to standard output.", hint="Leave one out.")
    source: Simulation | File
    if from_file is not None:
        options.refuse(context, SIMULATED, "does not go with --from")
        source = producer.File(from_file, producer.shape(map_ or (), fill or ()), epoch)
    else:
        options.refuse(context, REPLAYED, "is for --from")
        source = producer.Simulation(seed, users, fraud_rate, scenario, days, start, history_only)
    flags = {"transactions_topic": topic, "bootstrap_servers": bootstrap_servers, "partitions": partitions}
    if dry_run:
        report, rejects = producer.produce(source, None, rate=rate, count=count)
    else:
        settings = load(kafka=flags, metrics={"port": metrics_port})
        monitor = ProduceMonitor(settings.metrics.stalled_seconds)
        progress = _progress if sys.stderr.isatty() else None
        with served(settings.metrics, monitor.health, monitor.registry):
            report, rejects = producer.produce(
                source, settings.kafka, rate=rate, count=count, progress=progress, monitor=monitor
            )
        _print(report, rejects, as_json=as_json)
    if report.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)


def _explain(*, as_json: bool) -> None:
    from fraudstream.simulate.scenarios import SCENARIOS

    if as_json:
        print_document({"scenarios": [{"name": s.name, "sentence": s.sentence} for s in SCENARIOS]})
    else:
        print_table("Kinds of fraud", ("name", "what happens"), [(s.name, s.sentence) for s in SCENARIOS])


def _print(report: "Report", rejects: "Rejects", *, as_json: bool) -> None:
    if as_json:
        print_document(report.document() | rejects.document())
        return
    typer.echo(
        f"{report.sent:,} sent, {report.failed:,} failed, in {report.seconds:.1f} s"
        f" ({report.document()['rate']:,} a second)"
    )
    if rejects.count:
        typer.echo(f"{rejects.count:,} rows of the file were skipped")


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int], object]]:
    """A progress bar on the terminal; without a total, a counter."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeElapsedColumn

    from fraudstream.logs import console

    columns = (BarColumn(), MofNCompleteColumn(), TaskProgressColumn(show_speed=True), TimeElapsedColumn())
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)
