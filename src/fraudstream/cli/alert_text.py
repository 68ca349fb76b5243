"""Alerts as plain text. Untrusted strings are printed literally, never interpreted as markup."""

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fraudstream.cli.alert_document import alert_document
from fraudstream.cli.output import print_line
from fraudstream.logs import printable
from fraudstream.reasons.phrases import money, telling
from fraudstream.store.alerts import LISTED, Alert
from fraudstream.store.explanation import Explanation
from fraudstream.store.history import Past
from fraudstream.store.labels import verdict_word

RISKY = 0.8
"""Risks from here on are drawn in red."""
ID = 16
"""Merchants' ids up to this length stay on one line; places and devices can wrap between words."""


def opening(found: Explanation) -> str:
    """What happened, in a sentence."""
    place = found.alert or found.transaction
    paid = money(found.subject.amount, place.currency if place else None)
    said = f"On {day(found.subject.timestamp)} UTC, customer {found.subject.user_id} paid {paid}"
    if place is not None:
        said += f" at {place.merchant_id}" if place.merchant_id else ""
        said += f" in {place.transaction_location}" if place.transaction_location else ""
        said += f", from {place.device}" if place.device else ""
        if place.location and place.location != place.transaction_location:
            said += f"; home is {place.location}"
    return f"{said}."


def day(at: datetime) -> str:
    """A timestamp in full, for a sentence."""
    return f"{at:%A} {at.day} {at:%B %Y}, {at:%H:%M:%S}"


def short(at: datetime) -> str:
    """A timestamp in short, for a table."""
    return f"{at.day:2} {at:%b %H:%M:%S}"


def standing(past: Past) -> str:
    """The verdict on one of a customer's transactions, or whether it was flagged, in a word."""
    if past.verdict is not None:
        return verdict_word(past.verdict)
    return "flagged" if past.flagged else ""


def decided(found: Explanation) -> str:
    """The decision and what made it, in a sentence or two."""
    decision, threshold = found.decision, found.threshold
    if decision is None:
        return (
            "It is stored and was not scored: it came before `fraudstream score` began, or its decision has not arrived"
            " yet (`fraudstream health` shows how far the streams are)."
        )
    at = f"{short(decision.scored_at).strip()} UTC"
    digits = 3 if threshold is None else telling(decision.risk, threshold, 3)
    by = f"On {at}, model {decision.model_version} gave it a risk of {decision.risk:.{digits}f}"
    flags = (
        "" if threshold is None else f", and flags transactions with a risk of {threshold:.{digits}f} or more"
    )
    if found.alert is None:
        no_rule = " No rule matched either." if not decision.rules else ""
        return (
            f"It was not flagged. {by}{flags}.{no_rule} Reasons are computed only for flagged transactions."
        )
    if threshold is not None and decision.risk < threshold:
        rules = "rule" if len(decision.rules) == 1 else "rules"
        return f"{by}{flags}: the model alone would have let it pass. The {rules} {', '.join(decision.rules)} flagged it."
    return f"{by}{flags}."


def verdict(found: Explanation) -> str:
    """The labels so far, in a sentence."""
    if not found.labels:
        return "Nobody has reviewed it yet."
    last = found.labels[-1]
    who = last.labelled_by or "Somebody"
    said = f"{who} labelled it {verdict_word(last.is_fraud)} on {day(last.labelled_at)} UTC"
    said += f": {_closed(last.note)}" if last.note else "."
    others = sum(label.is_fraud != last.is_fraud for label in found.labels)
    if others:
        said += f" {others} earlier label{'s' if others > 1 else ''} said otherwise; the latest counts."
    return said


def _closed(text: str) -> str:
    """An untrusted string as the end of a sentence."""
    ended = text.rstrip()
    return ended if ended.endswith((".", "!", "?", "…")) else f"{ended}."


def command(words: str, transaction_id: str, option: str = "") -> str:
    """A command about a transaction, to copy into a shell: whoever sends payments chooses their ids."""
    quoted = shlex.quote(transaction_id)
    # An id that begins with a dash would be taken for an option.
    parts = (option, "--", quoted) if transaction_id.startswith("-") else (quoted, option)
    return " ".join(filter(None, ("fraudstream", words, *parts)))


def next_steps(found: Explanation) -> list[str]:
    """The commands that label it; if it has a label, the one that corrects it."""
    transaction_id = found.subject.transaction_id
    if not found.labels:
        return [command("label", transaction_id, "--fraud"), command("label", transaction_id, "--legit")]
    return [command("label", transaction_id, "--legit" if found.labels[-1].is_fraud else "--fraud")]


def show(found: Explanation) -> None:
    """Print an explanation."""
    console = Console()
    console.print(_heading(found))
    console.print(_text(opening(found)))
    if found.alert:
        reasons = found.alert.sentences or ["No reasons were computed for it."]
        console.print(_text("\nWhy it was flagged", "bold"))
        console.print(_numbered(reasons))
        for said in found.hindsight:
            console.print(_text(said))
    console.print(_text(f"\n{decided(found)}"))
    if found.history:
        console.print(_text("\nThe customer's payments around it", "bold"))
        console.print(_around(found))
    console.print(_text(f"\n{verdict(found)}"))
    console.print(_text("Next, if that was wrong:" if found.labels else "Next, one of:"))
    for step in next_steps(found):
        # Not wrapped, so that it can be copied.
        console.print(_text(f"  {step}"), soft_wrap=True)


def _text(said: str, style: str = "") -> Text:
    return Text(printable(said), style=style)


def _heading(found: Explanation) -> Text:
    heading = Text().append_text(_text(f"Transaction {found.subject.transaction_id}", "bold"))
    if found.decision:
        heading.append(f"   risk {found.decision.risk:.2f}", _colour(found.decision.risk))
    state = "flagged" if found.alert else "not flagged" if found.decision else "not scored"
    return heading.append(f"   {state}" if found.transaction else f"   {state}, not stored yet")


def _colour(risk: float) -> str:
    return "bold red" if risk >= RISKY else "bold yellow"


def _numbered(sentences: Sequence[str]) -> Table:
    table = Table.grid(padding=(0, 1))
    for place, said in enumerate(sentences, 1):
        table.add_row(f"  {place}.", _text(said))
    return table


def _around(found: Explanation) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("amount", no_wrap=True, justify="right")
    for name in ("where", "device"):
        table.add_column(name, overflow="fold")
    longest = max((len(past.merchant_id or "") for past in found.history), default=0)
    table.add_column("merchant", overflow="fold", no_wrap=longest <= ID)
    table.add_column("risk", no_wrap=True)
    table.add_column("", no_wrap=True)
    for past in found.history:
        this = past.transaction_id == found.subject.transaction_id
        cells = (
            ">" if this else "",
            short(past.timestamp),
            money(past.amount, past.currency),
            past.transaction_location,
            past.device,
            past.merchant_id or "",
            "-" if past.risk is None else f"{past.risk:.2f}",
            standing(past),
        )
        table.add_row(*map(_text, cells), style="bold" if this else "")
    return table


def show_list(alerts: Sequence[Alert]) -> None:
    """Print alerts as a list, with two lines for each so that an id is never broken."""
    console = Console()
    for alert in alerts:
        console.print(_line(alert), soft_wrap=True)
    waiting = sum(alert.verdict is None for alert in alerts)
    console.print(
        _text(
            f"Shown: {len(alerts):,}, of which {waiting:,} not reviewed. `fraudstream alerts explain ID` shows more,"
            " `fraudstream label ID --fraud` or `--legit` records what it was.",
            "dim",
        )
    )


def show_line(alert: Alert, *, as_json: bool) -> None:
    """Print one alert of a stream, and flush."""
    if as_json:
        print_line(alert_document(alert))
        return
    Console().print(_line(alert), soft_wrap=True)
    sys.stdout.flush()


def _line(alert: Alert) -> Text:
    """An alert in a few lines: what, who, and why."""
    said = Text().append(f"decided {short(alert.scored_at).strip()} UTC  ", "dim")
    said.append(f"{alert.risk:.2f}", _colour(alert.risk))
    said.append_text(_text(f"  {money(alert.amount, alert.currency)}", "bold"))
    said.append_text(_text(f"  {alert.user_id}  {alert.transaction_id}"))
    if alert.verdict is not None:
        said.append(f"  {verdict_word(alert.verdict)}", "red" if alert.verdict else "green")
    for sentence in alert.sentences[:LISTED]:
        said.append_text(_text(f"\n    {sentence}"))
    return said
