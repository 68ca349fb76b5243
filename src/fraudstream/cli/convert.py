"""`fraudstream convert`: another topic's messages as transactions."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fraudstream.cli import options
from fraudstream.cli.options import MetricsPort
from fraudstream.cli.output import Json, print_document
from fraudstream.errors import ExitCode, UsageError
from fraudstream.micros import Epoch

if TYPE_CHECKING:
    from fraudstream.producer.conversion import Conversion

FORM = "Their format"
WHERE = "Kafka"


Source = Annotated[str, typer.Argument(metavar="TOPIC", help="The topic to read, of JSON objects.")]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="THEIRS=OURS",
        help="Which key of a message is which field; card.number is a key within a key. May be repeated.",
        rich_help_panel=FORM,
    ),
]
Fill = Annotated[
    list[str] | None,
    typer.Option(
        "--fill",
        metavar="OURS=VALUE",
        help="Value for a field that a message lacks; may be repeated.",
        rich_help_panel=FORM,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="THEIRS=VALUE",
        help="Skip messages with another value there, as those of other events. Repeated for one key, any of its values will do.",
        rich_help_panel=FORM,
    ),
]
Preview = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Print the first N messages as they would be sent, and send nothing."
    ),
]
Once = Annotated[
    bool, typer.Option("--once", help="Stop once everything that is in the topic now is converted.")
]
FromEnd = Annotated[
    bool,
    typer.Option(
        "--from-end", help="Let the first run begin with the next message, not with the first that Kafka has."
    ),
]
PassOn = Annotated[
    bool,
    typer.Option(
        "--pass-on",
        help="Send what cannot be converted to shop.rejected even before the first message that can.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="A name for this conversion, where a topic has several: each has a position of its own.",
    ),
]
To = Annotated[str | None, typer.Option("--to", help="The topic to write to.", rich_help_panel=WHERE)]
Servers = Annotated[str | None, options.servers(WHERE)]
AcceptLoss = Annotated[bool, options.accept_loss()]


def convert(
    topic: Source,
    map_: Map = None,
    fill: Fill = None,
    only: Only = None,
    epoch: Annotated[Epoch | None, options.epoch(FORM)] = None,
    preview: Preview = None,
    once: Once = False,
    from_end: FromEnd = False,
    accept_loss: AcceptLoss = False,
    pass_on: PassOn = False,
    name: Name = None,
    to: To = None,
    bootstrap_servers: Servers = None,
    metrics_port: MetricsPort = None,
    as_json: Json = False,
) -> None:
    """Turn another topic's messages into transactions as they arrive: for a Kafka whose messages have another format.

    Identifiers may be numbers, and amounts text. A message that cannot be converted is passed on as it is, so that
    `consume` keeps it in shop.rejected; but nothing is sent before the first message that can. Runs until Ctrl-C, and
    later goes on where it stopped.
    """
    from fraudstream.metrics import ConvertMonitor, served
    from fraudstream.producer import conversion, forms
    from fraudstream.settings import load
    from fraudstream.store.migrate import migrate

    if preview is not None and as_json:
        raise UsageError("--preview and --json both write to standard output.", hint="Leave one out.")
    form = forms.form(map_ or (), fill or (), only or (), epoch)
    flags = {"transactions_topic": to, "bootstrap_servers": bootstrap_servers}
    settings = load(kafka=flags, metrics={"port": metrics_port})
    if preview is not None:
        conversion.preview(topic, form, settings.kafka, settings.postgres, preview)
        return
    start = conversion.Start(name, from_end=from_end, accept_loss=accept_loss, once=once, pass_on=pass_on)
    migrate(settings.postgres)
    monitor = ConvertMonitor(settings.metrics.stalled_seconds)
    with served(settings.metrics, monitor.health, monitor.registry):
        done = conversion.convert(
            *(topic, form, settings.kafka, settings.postgres),
            start=start,
            monitor=monitor,
        )
    _print(done, as_json=as_json)
    if done.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)


def _print(done: "Conversion", *, as_json: bool) -> None:
    if as_json:
        print_document(asdict(done) | {"seconds": round(done.seconds, 3)})
        return
    typer.echo(f"{done.converted:,} converted, {done.skipped:,} skipped, in {done.seconds:.1f} s")
    if done.unreadable:
        typer.echo(
            f"{done.unreadable:,} could not be converted and were passed on as they are: `fraudstream consume` keeps them"
            " in shop.rejected."
        )
