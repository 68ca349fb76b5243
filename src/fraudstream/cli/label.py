"""`fraudstream label`: record which transactions were fraud."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraudstream.cli import inputs, options
from fraudstream.cli.output import Json, print_document
from fraudstream.logs import get_logger, printable

if TYPE_CHECKING:
    from fraudstream.store.label_files import Imported
    from fraudstream.store.labels import Labelled

log = get_logger("label")

ONE = "One transaction"
FILE = "Many, from a file"


def label(
    transaction_id: Annotated[str | None, typer.Argument(metavar="ID", help="Id of the transaction.")] = None,
    is_fraud: Annotated[
        bool | None, typer.Option("--fraud/--legit", help="What the transaction was.", rich_help_panel=ONE)
    ] = None,
    note: Annotated[
        str | None, typer.Option(help="A note for those who read the label later.", rich_help_panel=ONE)
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="CSV, Parquet or NDJSON with transaction_id and is_fraud, and optionally labelled_at, labelled_by and note.",
            rich_help_panel=FILE,
        ),
    ] = None,
    mapping: Annotated[list[str] | None, options.mapping(FILE)] = None,
    by: Annotated[
        str | None, typer.Option(help="Who labelled it; default: the user who runs the command.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Record what a transaction turned out to be: `label ID --fraud`, `label ID --legit`, or `label --from FILE`.

    Labels are added and never changed: if there are several, the latest counts. Merchant, device and customer risk follow
    within a minute while `consume` keeps profiles. The next `train` learns from them, except
    payments within the last label delay, which are used to set the threshold. A transaction that is not stored
    yet can be labelled, too. Importing the same file twice adds nothing, except
    labels that were in the future when it was first read.
    """
    from fraudstream.store import label_files, labels

    _check(transaction_id, is_fraud, note, from_file, mapping)
    renamed = label_files.renamed(mapping or ())
    if by is not None and not by.strip():
        raise typer.BadParameter(
            "--by is empty: name who labelled it, or leave it out to take the current user"
        )
    postgres, who = inputs.database(), by or labels.current_user()
    if from_file is not None:
        _report_file(label_files.labels_from_file(postgres, from_file, renamed, who), as_json=as_json)
    elif transaction_id is not None and is_fraud is not None:
        _report(labels.label(postgres, transaction_id, is_fraud, who, note), as_json=as_json)


def _check(
    transaction_id: str | None,
    is_fraud: bool | None,
    note: str | None,
    from_file: Path | None,
    mapping: list[str] | None,
) -> None:
    """Raise BadParameter unless the command line names either one transaction or a file."""
    if (transaction_id is None) == (from_file is None):
        raise typer.BadParameter("give the ID of one transaction, or a file with --from")
    if from_file is not None and (is_fraud is not None or note is not None):
        raise typer.BadParameter(
            "--fraud, --legit and --note are for one transaction; a file has them in its rows"
        )
    if transaction_id is not None and mapping:
        raise typer.BadParameter("--map is for --from")
    if transaction_id is not None and is_fraud is None:
        raise typer.BadParameter("say what it was: --fraud or --legit")


def _report(done: "Labelled", *, as_json: bool) -> None:
    from fraudstream.store.labels import verdict_word

    if as_json:
        print_document(
            asdict(done.label)
            | {
                "before": asdict(done.before) if done.before else None,
                "stored": done.stored,
                "flagged": done.flagged,
            }
        )
        return
    new, before = done.label, done.before
    typer.echo(printable(f"{new.transaction_id} labelled {verdict_word(new.is_fraud)} by {new.who}."))
    if before is not None and before.is_fraud != new.is_fraud:
        when = f"{before.labelled_at:%Y-%m-%d at %H:%M} UTC"
        typer.echo(
            printable(f"Previously labelled {verdict_word(before.is_fraud)} by {before.who} on {when}.")
        )
    if not done.stored:
        typer.echo(
            "This transaction is not stored yet; the label is kept for it. Check the id if you expected it to be here."
        )


def _report_file(done: "Imported", *, as_json: bool) -> None:
    done.rejects.tell(log)
    if as_json:
        print_document(
            {
                "read": done.read,
                "added": done.added,
                "present": done.present,
                "unknown": done.unknown,
                "read_before": done.read_before,
            }
            | done.rejects.document()
        )
        return
    if done.read_before is not None:
        typer.echo(
            f"This file was already imported on {done.read_before:%Y-%m-%d at %H:%M} UTC: only labels that were still in the future then were added."
        )
    typer.echo(
        f"{done.added:,} {'label' if done.added == 1 else 'labels'} added, {done.present:,} already known,"
        f" {done.rejects.count:,} of {done.read:,} rows skipped"
    )
    if done.unknown:
        typer.echo(
            f"{done.unknown:,} of them are for transactions that are not stored yet, and are kept for those."
        )
