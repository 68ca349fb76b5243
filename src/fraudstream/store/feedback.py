"""What was flagged, what the customer did around it, and what people said: read and written here.

Labels are rows that are added and never changed; of several the latest (`labelled_at`, then the order of
arrival) counts. Everything else about a transaction follows from that: its verdict in an alert, its
truth in training (`queries.transactions`), its place in the profiles (`labels.fold_known`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row

from fraudstream.errors import InputError
from fraudstream.schema import FIRST_INSTANT, ID_LENGTH, LAST_INSTANT, TEXT_LENGTH
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connect, translated

Row = TypeVar("Row")
Connection = psycopg.Connection[tuple[Any, ...]]

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


@dataclass(frozen=True, slots=True)
class Past:
    """One of a customer's transactions, with what is known of it now."""

    transaction_id: str
    timestamp: datetime
    amount: float
    currency: str | None
    device: str
    location: str
    transaction_location: str
    merchant_id: str | None
    risk: float | None
    """Null where it was not scored."""
    flagged: bool
    verdict: bool | None
    """What people said last."""


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
    check_text("transaction_id", transaction_id, ID_LENGTH)
    for name, text, length in (("labelled_by", by, TEXT_LENGTH), ("note", note, NOTE_LENGTH)):
        if text is not None:
            check_text(name, text, length)
    with _connected(postgres) as connection:
        before = _said(connection, transaction_id)
        added = _row(
            connection,
            Label,
            _ADD_LABEL,
            (transaction_id, is_fraud, by, note),
        )
        row = connection.execute(
            "select exists (select from shop.transactions where transaction_id = %(id)s)"
            " or exists (select from shop.fraud_transactions where transaction_id = %(id)s),"
            " exists (select from shop.alerts where transaction_id = %(id)s)",
            {"id": transaction_id},
        ).fetchone()
    assert added is not None, "an insert returns its row"  # noqa: S101 - narrows the types
    assert row is not None, "a select without a table has one row"  # noqa: S101
    return Labelled(added, before[-1] if before else None, *row)


def check_text(name: str, text: str, length: int) -> None:
    """Raises InputError where `text` is empty, too long, or holds what PostgreSQL keeps in no text."""
    if not 0 < len(text) <= length or "\x00" in text:
        raise InputError(
            f"{name}: {'empty' if not text else 'contains a NUL character' if chr(0) in text else 'too long'}.",
            hint=f"Give 1 to {length:,} characters.",
        )


def alerts(  # noqa: PLR0913 - one for each filter of a list
    postgres: PostgresSettings,
    *,
    limit: int = 50,
    since: datetime | None = None,
    unreviewed: bool = False,
    user_id: str | None = None,
    min_risk: float = 0.0,
    before: tuple[datetime, str] | None = None,
) -> list[Alert]:
    """Alerts, the newest decision first: at most `limit`, scored at `since` or later, with `risk` at `min_risk` or above.

    `before` continues a list where it ended: (scored_at, transaction_id) of its last alert. Raises DatabaseError.
    """
    wanted = [
        (since is not None, "scored_at >= %(since)s"),
        (unreviewed, "verdict is null"),
        (user_id is not None, "user_id = %(user_id)s"),
        (min_risk > 0, "risk >= %(min_risk)s"),
        (before is not None, "(scored_at, transaction_id) < (%(before_at)s, %(before_id)s)"),
    ]
    conditions = [condition for is_wanted, condition in wanted if is_wanted]
    before_at, before_id = before or (None, None)
    values = {
        "since": since, "user_id": user_id, "min_risk": min_risk, "limit": limit,
        "before_at": before_at, "before_id": before_id,
    }  # fmt: skip
    where = f"where {' and '.join(conditions)}" if conditions else ""
    with _connected(postgres) as connection:
        return _rows(
            connection,
            Alert,
            f"{_ALERTS} {where} order by scored_at desc, transaction_id desc limit %(limit)s",
            values,
        )


def alert(postgres: PostgresSettings, transaction_id: str) -> Alert | None:
    """The alert of a transaction, or None where there is none. Raises DatabaseError."""
    with _connected(postgres) as connection:
        return next(
            iter(_rows(connection, Alert, f"{_ALERTS} where transaction_id = %s", (transaction_id,))), None
        )


def score(postgres: PostgresSettings, transaction_id: str) -> Score | None:
    """The decision on a transaction, or None where there is none. Raises DatabaseError."""
    with _connected(postgres) as connection:
        return _row(connection, Score, f"{_SCORES} where transaction_id = %s", (transaction_id,))


def said(postgres: PostgresSettings, transaction_id: str) -> list[Label]:
    """Everything that people said of a transaction; the last one counts. Raises DatabaseError."""
    with _connected(postgres) as connection:
        return _said(connection, transaction_id)


def _said(connection: Connection, transaction_id: str) -> list[Label]:
    query = f"{_LABELS} where transaction_id = %s order by labelled_at, label_id"
    return _rows(connection, Label, query, (transaction_id,))


def history(
    postgres: PostgresSettings, user_id: str, around: datetime, *, before: int = 10, after: int = 5
) -> list[Past]:
    """A customer's last transactions up to `around` and the next ones after it, in order of time.

    At most `before` and `after` of them, at most 30 days back and 7 days ahead. Raises DatabaseError.
    """
    with _connected(postgres) as connection:
        earlier = _nearest(connection, user_id, around, BACK, before)
        later = _nearest(connection, user_id, around, AHEAD, after)
    return [*reversed(earlier), *later]


@dataclass(frozen=True, slots=True)
class _Direction:
    span: str
    order: str
    sign: int
    days: tuple[float, ...]
    """How far to look, wider only where a narrower look found too little: what a busy customer did in a month is many
    rows, what a rare one did is few block ranges."""


BACK = _Direction("timestamp > %(edge)s and timestamp <= %(around)s", "desc", -1, (1, 30))
AHEAD = _Direction("timestamp > %(around)s and timestamp <= %(edge)s", "asc", 1, (1, 7))

_NEAREST = """
select p.transaction_id, p.timestamp, p.amount, p.currency, p.device, p.location, p.transaction_location, p.merchant_id,
  s.risk, coalesce(s.flagged, false) as flagged, l.is_fraud as verdict
from (
  (select * from shop.transactions where user_id = %(user_id)s and {span} order by timestamp {order} limit %(limit)s)
  union all
  (select * from shop.fraud_transactions where user_id = %(user_id)s and {span} order by timestamp {order} limit %(limit)s)
) as p
left join shop.scores as s using (transaction_id)
left join lateral (
  select is_fraud from shop.labels where transaction_id = p.transaction_id order by labelled_at desc, label_id desc limit 1
) as l on true
order by p.timestamp {order}, p.transaction_id {order}"""


def _nearest(
    connection: Connection, user_id: str, around: datetime, where: _Direction, limit: int
) -> list[Past]:
    """The customer's transactions nearest to `around` in one direction, the nearest first."""
    found: list[Past] = []
    for days in where.days:
        values = {
            "user_id": user_id, "around": around, "limit": limit,
            "edge": _moved(around, where.sign * timedelta(days=days)),
        }  # fmt: skip
        rows = _rows(connection, Past, _NEAREST.format(span=where.span, order=where.order), values)
        # An id that came both as fraud and as legitimate stands in both tables.
        found = list({past.transaction_id: past for past in rows}.values())[:limit]
        if len(found) == limit:
            break
    return found


def _moved(instant: datetime, by: timedelta) -> datetime:
    """An instant later or earlier, inside the years that there are."""
    try:
        return instant + by
    except OverflowError:
        return LAST_INSTANT if by > timedelta() else FIRST_INSTANT


def _columns(kind: type[Any]) -> str:
    return ", ".join(field.name for field in fields(kind))


_ALERTS = f"select {_columns(Alert)} from shop.alert_reviews"  # noqa: S608 - columns of a class of this module
_SCORES = f"select {_columns(Score)} from shop.scores"  # noqa: S608
_LABELS = f"select {_columns(Label)} from shop.labels"  # noqa: S608
_ADD_LABEL = f"""
insert into shop.labels (transaction_id, is_fraud, labelled_by, note) values (%s, %s, %s, %s)
returning {_columns(Label)}"""  # noqa: S608


@contextmanager
def _connected(postgres: PostgresSettings) -> Iterator[Connection]:
    with translated(postgres), connect(postgres) as connection:
        yield connection


def _rows(
    connection: Connection, kind: type[Row], query: str, values: Mapping[str, Any] | Sequence[Any]
) -> list[Row]:
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(query.encode(), values).fetchall()


def _row(
    connection: Connection, kind: type[Row], query: str, values: Mapping[str, Any] | Sequence[Any]
) -> Row | None:
    return next(iter(_rows(connection, kind, query, values)), None)
