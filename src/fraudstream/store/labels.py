"""Labels: verdicts of people on transactions, which are added and never changed.

Of several the latest (`labelled_at`, then the order of arrival) counts: as the verdict in an alert, the truth in
training (`training_rows.transactions`), and in the profiles (`label_folding.fold_known`).
"""

import getpass
import os
from dataclasses import dataclass
from datetime import datetime

from fraudstream.errors import InputError
from fraudstream.schema import ID_LENGTH, NOTE_LENGTH, TEXT_LENGTH
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import Connection, connected
from fraudstream.store.rows import columns, one, only, rows

LATEST_LABEL = """lateral (
  select is_fraud from shop.labels where transaction_id = {row}.transaction_id
  order by labelled_at desc, label_id desc limit 1
)"""
"""The label that counts for a row of the query; no row if there is none."""


@dataclass(frozen=True, slots=True)
class Label:
    """One verdict on a transaction."""

    transaction_id: str
    is_fraud: bool
    labelled_at: datetime
    labelled_by: str | None
    note: str | None

    @property
    def who(self) -> str:
        """The author; in words if unknown."""
        return self.labelled_by or "somebody"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A label that was added, and what was known before."""

    label: Label
    before: Label | None
    """The label that counted until now."""
    stored: bool
    """Whether the transaction is stored; if not, the label is kept for it."""
    flagged: bool
    """Whether it raised an alert."""


def verdict_word(is_fraud: bool | None) -> str:
    """A verdict in a word; empty if there is none."""
    return {True: "fraud", False: "legitimate", None: ""}[is_fraud]


def current_user() -> str | None:
    """The user who runs this; None if unknown, as in a container without users."""
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
    """Label a transaction as fraud or not, which overrides all earlier labels.

    Any id is accepted, as the transaction may arrive later. Raises InputError for an id, a name or a note that
    cannot be stored, DatabaseError.
    """
    given = (
        ("transaction_id", transaction_id, ID_LENGTH), ("labelled_by", by, TEXT_LENGTH), ("note", note, NOTE_LENGTH)
    )  # fmt: skip
    for name, text, length in given:
        require_fit(name, text, length)
    with connected(postgres) as connection:
        before = _said(connection, transaction_id)
        added = only(connection, Label, _ADD_LABEL, (transaction_id, is_fraud, by, note))
        found = one(
            connection,
            "select exists (select from shop.transactions where transaction_id = %(id)s)"
            " or exists (select from shop.fraud_transactions where transaction_id = %(id)s),"
            " exists (select from shop.alerts where transaction_id = %(id)s)",
            {"id": transaction_id},
        )
    return Labelled(added, before[-1] if before else None, *found)


def require_fit(name: str, text: str | None, length: int) -> None:
    """Raise InputError, which names the field, if a user's string cannot be stored."""
    if text is not None and (reason := unfit(text, length)):
        raise InputError(f"{name}: {reason}.", hint=f"Give 1 to {length:,} characters.")


def unfit(text: str, length: int) -> str | None:
    """Why a user's string cannot be stored, or None if it can."""
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


def said(postgres: PostgresSettings, transaction_id: str) -> list[Label]:
    """All labels of a transaction; the last one counts. Raises DatabaseError."""
    with connected(postgres) as connection:
        return _said(connection, transaction_id)


def _said(connection: Connection, transaction_id: str) -> list[Label]:
    query = f"{_LABELS} where transaction_id = %s order by labelled_at, label_id"
    return rows(connection, Label, query, (transaction_id,))


_LABELS = f"select {columns(Label)} from shop.labels"  # noqa: S608
_ADD_LABEL = f"""
insert into shop.labels (transaction_id, is_fraud, labelled_by, note) values (%s, %s, %s, %s)
returning {columns(Label)}"""  # noqa: S608
