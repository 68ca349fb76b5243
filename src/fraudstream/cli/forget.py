"""`fraudstream forget`: delete a customer, or all older data, from every table with personal data."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from fraudstream.cli import inputs
from fraudstream.cli.output import Json, print_document, print_table
from fraudstream.cli.questions import agreed
from fraudstream.errors import ExitCode
from fraudstream.logs import printable

if TYPE_CHECKING:
    from fraudstream.store.forget import Scope


def _day(text: str) -> datetime:
    """Parse an age in days such as `90` or `90d`, or a date or timestamp."""
    from fraudstream.schema import parse_instant

    now = datetime.now(UTC)
    try:
        days = text.removesuffix("d")
        instant = now - timedelta(days=int(days)) if days.isdecimal() else parse_instant(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter("a number of days, or an ISO 8601 date") from None
    if instant >= now:
        raise typer.BadParameter("that is not in the past")
    return instant


def forget(
    user: Annotated[str | None, typer.Option(metavar="ID", help="Everything about this customer.")] = None,
    older_than: Annotated[
        datetime | None,
        typer.Option(
            parser=_day,
            metavar="DAYS|DATE",
            help="Everything older than this many days, or before this date.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Delete personal data: transactions, decisions, alerts, labels, rejected messages and profiles.

    Hourly counts, overall sums and models stay, and with --user also the sums of merchants and devices (--older-than
    deletes those without a transaction since). The stream's offsets stay, too, so that deleted transactions are not
    stored again unless they are sent again. Kafka's topics keep their messages for as long as their own retention. An
    interrupted run resumes at the next call.
    """
    from fraudstream.store import forget as forgetting

    scope = _scope(user, older_than)
    postgres = inputs.database()
    if dry_run:
        _report(forgetting.count(postgres, scope), None, as_json=as_json)
        return
    if not yes:
        rows = forgetting.count(postgres, scope)
        whose = f"about {printable(user)}" if user else f"from before {older_than:%Y-%m-%d %H:%M} UTC"
        # They are known by their text alone: an unexpected number is the sign of an id that is a common word, too.
        rejected = f", {rows['rejected']:,} of them rejected messages" if rows["rejected"] else ""
        if not agreed(f"Permanently delete {rows.total():,} rows {whose}{rejected}?"):
            raise typer.Exit(ExitCode.FAILED)
    removed: Counter[str] = Counter()
    began = time.monotonic()
    try:
        forgetting.forget(postgres, scope, removed)
    except KeyboardInterrupt:
        _report(removed, time.monotonic() - began, as_json=as_json)
        raise
    _report(removed, time.monotonic() - began, as_json=as_json)


def _scope(user: str | None, older_than: datetime | None) -> "Scope":
    from fraudstream.store import forget as forgetting

    if (user is None) == (older_than is None):
        raise typer.BadParameter("give one of --user and --older-than")
    if user is not None:
        return forgetting.of_user(user)
    assert older_than is not None, "one of the two"  # noqa: S101 - narrows the type
    return forgetting.before(older_than)


def _report(rows: Counter[str], seconds: float | None, *, as_json: bool) -> None:
    if as_json:
        document = {"dry_run": seconds is None, "rows": dict(rows), "total": rows.total()}
        print_document(document if seconds is None else document | {"seconds": round(seconds, 3)})
        return
    title = f"{rows.total():,} rows {'would be deleted' if seconds is None else 'deleted'}"
    print_table(title, ("table", "rows"), [(table, f"{number:,}") for table, number in rows.items()])
