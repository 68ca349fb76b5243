"""What was flagged, what the customer did around it, and what people said: read and written here.

Labels are rows that are added and never changed; of several the latest (`labelled_at`, then the order of
arrival) counts. Everything else about a transaction follows from that: its verdict in an alert, its
truth in training (`queries.transactions`), its place in the profiles (`labels.fold_known`).
"""

import getpass
import os
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fraudstream.errors import InputError
from fraudstream.schema import ID_LENGTH, TEXT_LENGTH
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import Connection, connected
from fraudstream.store.history import Past, history, transaction
from fraudstream.store.rows import columns, row, rows

__all__ = [
    "Alert",
    "Label",
    "Labelled",
    "Past",
    "Score",
    "alert",
    "alerts",
    "current_user",
    "history",
    "label",
    "said",
    "score",
    "transaction",
]

NOTE_LENGTH = 2_000
"""Longest note, in characters."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A flagged transaction, why it was flagged, and what people said of it since."""

    transaction_id: str
    user_id: str
    timestamp: datetime
    """Of the transaction."""
    amount: float
    device: str | None
    location: str | None
    transaction_location: str | None
    merchant_id: str | None
    currency: str | None
    risk: float
    rules: list[str]
    """Names of the operator's rules that matched."""
    model_version: str
    scored_at: datetime
    sent_at: datetime | None
    stored_at: datetime
    reasons: list[dict[str, Any]]
    """Strongest first: `sentence`, with `feature`, `contribution`, `value`, or with `rule`, `severity`."""
    features: dict[str, float]
    """As the decision saw them."""
    verdict: bool | None
    """What people said last: fraud, legitimate, or nothing yet."""
    reviewed_at: datetime | None
    reviewed_by: str | None
    note: str | None
    truth: bool | None
    """What came with the message itself, where a simulator or a replayed file knew; null as long as it is not stored."""


@dataclass(frozen=True, slots=True)
class Score:
    """The decision on one transaction, flagged or not."""

    transaction_id: str
    user_id: str
    timestamp: datetime
    amount: float
    risk: float
    flagged: bool
    rules: list[str]
    model_version: str
    scored_at: datetime


@dataclass(frozen=True, slots=True)
class Label:
    """What somebody said of a transaction."""

    transaction_id: str
    is_fraud: bool
    labelled_at: datetime
    labelled_by: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Labelled:
    """A label that was added, and what it meets."""

    label: Label
    before: Label | None
    """The label that counted until now."""
    stored: bool
    """Whether the transaction is stored; if not, the label waits for it."""
    flagged: bool
    """Whether it raised an alert."""


def current_user() -> str | None:
    """Who runs this, as the shell has it; None where nobody knows, as in a container without users."""
    try:
        return os.environ.get("USER") or getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None


def label(
    postgres: PostgresSettings,
    transaction_id: str,
    is_fraud: bool,
    by: str | None = None,
    note: str | None = None,
) -> Labelled:
    """Say that a transaction was fraud, or was not; counts from now on, over everything said before.

    Any id is taken: the transaction may arrive later. Raises InputError for an id, a name or a note that
    no table can hold, DatabaseError.
    """
    given = (
        ("transaction_id", transaction_id, ID_LENGTH), ("labelled_by", by, TEXT_LENGTH), ("note", note, NOTE_LENGTH)
    )  # fmt: skip
    for name, text, length in given:
        if text is not None and (reason := unfit(text, length)):
            raise InputError(f"{name}: {reason}.", hint=f"Give 1 to {length:,} characters.")
    with connected(postgres) as connection:
        before = _said(connection, transaction_id)
        added = row(
            connection,
            Label,
            _ADD_LABEL,
            (transaction_id, is_fraud, by, note),
        )
        found = connection.execute(
            "select exists (select from shop.transactions where transaction_id = %(id)s)"
            " or exists (select from shop.fraud_transactions where transaction_id = %(id)s),"
            " exists (select from shop.alerts where transaction_id = %(id)s)",
            {"id": transaction_id},
        ).fetchone()
    assert added is not None, "an insert returns its row"  # noqa: S101 - narrows the types
    assert found is not None, "a select without a table has one row"  # noqa: S101
    return Labelled(added, before[-1] if before else None, *found)


def unfit(text: str, length: int) -> str | None:
    """Why a text of people cannot be stored, or None where it can."""
    if not text:
        return "empty"
    if len(text) > length:
        return f"longer than {length:,} characters"
    if "\x00" in text:
        return "contains a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "not UTF-8"
    return None


def alerts(  # noqa: PLR0913 - one for each filter of a list
    postgres: PostgresSettings,
    *,
    limit: int = 50,
    since: datetime | None = None,
    sent_since: datetime | None = None,
    unreviewed: bool = False,
    user_id: str | None = None,
    min_risk: float = 0.0,
    before: tuple[datetime, str] | None = None,
) -> list[Alert]:
    """Alerts, the newest decision first: at most `limit`, scored at `since` or later, with `risk` at `min_risk` or above.

    `sent_since` takes those alone whose message entered Kafka then or later.
    `before` continues a list where it ended: (scored_at, transaction_id) of its last alert. Raises DatabaseError.
    """
    wanted = [
        (since is not None, "scored_at >= %(since)s"),
        (sent_since is not None, "sent_at >= %(sent_since)s"),
        # As an anti-join, which follows the index from the newest on and stops; `verdict is null` reads every alert.
        (unreviewed, "not exists (select from shop.labels as l where l.transaction_id = a.transaction_id)"),
        (user_id is not None, "user_id = %(user_id)s"),
        (min_risk > 0, "risk >= %(min_risk)s"),
        (before is not None, "(scored_at, transaction_id) < (%(before_at)s, %(before_id)s)"),
    ]
    conditions = [condition for is_wanted, condition in wanted if is_wanted]
    before_at, before_id = before or (None, None)
    values = {
        "since": since, "sent_since": sent_since, "user_id": user_id, "min_risk": min_risk, "limit": limit,
        "before_at": before_at, "before_id": before_id,
    }  # fmt: skip
    where = f"where {' and '.join(conditions)}" if conditions else ""
    with connected(postgres) as connection:
        return rows(
            connection,
            Alert,
            f"{ALERTS} as a {where} order by scored_at desc, transaction_id desc limit %(limit)s",
            values,
        )


def alert(postgres: PostgresSettings, transaction_id: str) -> Alert | None:
    """The alert of a transaction, or None where there is none. Raises DatabaseError."""
    with connected(postgres) as connection:
        return row(connection, Alert, f"{ALERTS} where transaction_id = %s", (transaction_id,))


def score(postgres: PostgresSettings, transaction_id: str) -> Score | None:
    """The decision on a transaction, or None where there is none. Raises DatabaseError."""
    with connected(postgres) as connection:
        return row(connection, Score, f"{_SCORES} where transaction_id = %s", (transaction_id,))


def said(postgres: PostgresSettings, transaction_id: str) -> list[Label]:
    """Everything that people said of a transaction; the last one counts. Raises DatabaseError."""
    with connected(postgres) as connection:
        return _said(connection, transaction_id)


def _said(connection: Connection, transaction_id: str) -> list[Label]:
    query = f"{_LABELS} where transaction_id = %s order by labelled_at, label_id"
    return rows(connection, Label, query, (transaction_id,))


ALERTS = f"select {columns(Alert)} from shop.alert_reviews"  # noqa: S608 - columns of a class of this module
_SCORES = f"select {columns(Score)} from shop.scores"  # noqa: S608
_LABELS = f"select {columns(Label)} from shop.labels"  # noqa: S608
_ADD_LABEL = f"""
insert into shop.labels (transaction_id, is_fraud, labelled_by, note) values (%s, %s, %s, %s)
returning {columns(Label)}"""  # noqa: S608
