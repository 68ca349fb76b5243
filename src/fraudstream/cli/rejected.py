"""`fraudstream rejected`: messages that could not be read, kept byte for byte."""

import base64
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fraudstream.cli import inputs
from fraudstream.cli.output import Json, print_document, print_table
from fraudstream.errors import ExitCode
from fraudstream.logs import get_logger

if TYPE_CHECKING:
    from fraudstream.producer.redelivery import Redelivery
    from fraudstream.store.rejected import Rejected

log = get_logger("rejected")

group = typer.Typer(
    name="rejected", help="Messages that could not be read, kept byte for byte.", no_args_is_help=True
)

PREVIEW = 60
"""Characters of a message that a table shows."""


@group.command("list")
def list_rejected(
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 50,
    as_json: Json = False,
) -> None:
    """Show the messages that wait for a replay, newest first, with the reason for each."""
    from fraudstream.store import rejected

    postgres = inputs.database()
    waiting, total = rejected.newest(postgres, limit), rejected.count(postgres)
    if as_json:
        print_document({"total": total, "rejected": [_document(message) for message in waiting]})
        return
    title = f"{total:,} rejected"
    if len(waiting) < total:
        title += f", the newest {len(waiting):,} shown; --limit shows more"
    rows = [
        (m.topic, m.partition, m.offset, f"{m.rejected_at:%Y-%m-%d %H:%M}", m.reason, _preview(m))
        for m in waiting
    ]
    print_table(title, ("topic", "partition", "offset", "when", "reason", "message"), rows)


def _document(message: "Rejected") -> dict[str, Any]:
    def encoded(value: bytes | None) -> str | None:
        return None if value is None else base64.b64encode(value).decode("ascii")

    return {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "reason": message.reason,
        "rejected_at": message.rejected_at,
        "key_base64": encoded(message.key),
        "value_base64": encoded(message.value),
    }


def _preview(message: "Rejected") -> str:
    if message.value is None:
        return "(tombstone)"
    # repr keeps control characters of untrusted messages from the terminal.
    text = repr(message.value[:PREVIEW])[2:-1]
    return f"{text}… ({len(message.value):,} bytes)" if len(message.value) > PREVIEW else text


@group.command()
def replay(as_json: Json = False) -> None:
    """Send the messages that this version can read to their topic again; the rest stay.

    Use it after a fix, such as a newer version that reads what this one rejected. A message that Kafka refuses, as it is
    too large for its topic, stays as well and is reported.
    """
    from fraudstream.producer.redelivery import Redelivery, replay_rejected
    from fraudstream.settings import load
    from fraudstream.signals import stopping

    kafka, postgres = load().kafka, inputs.database()
    done, stop = Redelivery(), threading.Event()
    try:
        # The first Ctrl-C waits for the current batch, so that what was sent is counted and marked; a second one does not.
        with stopping(stop):
            replay_rejected(kafka, postgres, done, stop)
    except KeyboardInterrupt:
        done.interrupted = True
    finally:
        for message in done.refused:
            log.warning(
                "%s/%d at offset %d was not sent; Kafka refuses it: %s",
                *(message.topic, message.partition, message.offset, message.reason),
            )
    _report(done, as_json=as_json)
    if done.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)


def _report(done: "Redelivery", *, as_json: bool) -> None:
    if as_json:
        print_document(asdict(done))
    elif done.interrupted:
        typer.echo(f"{done.replayed:,} replayed before it was stopped; run it again for the rest")
    else:
        typer.echo(f"{done.replayed:,} replayed, {done.still_rejected:,} still waiting")
