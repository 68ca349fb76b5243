"""Decisions on transactions: alerts with their reasons and verdicts, and scores of the rest."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connected
from fraudstream.store.rows import columns, row, rows

LISTED = 3
"""Sentences that a list shows per alert: the strongest say most of it."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A flagged transaction, why it was flagged, and its verdict."""

    transaction_id: str
    user_id: str
    timestamp: datetime
    """When the transaction took place."""
    amount: float
    currency: str | None
    device: str | None
    location: str | None
    transaction_location: str | None
    merchant_id: str | None
    risk: float
    reasons: list[dict[str, Any]]
    """Strongest first: `sentence`, with `feature`, `contribution`, `value`, or with `rule`, `severity`."""
    rules: list[str]
    """Names of the operator's rules that matched."""
    model_version: str
    scored_at: datetime
    sent_at: datetime | None
    stored_at: datetime
    features: dict[str, float]
    """As the decision saw them."""
    verdict: bool | None
    """The latest label: fraud, legitimate, or none yet."""
    reviewed_at: datetime | None
    reviewed_by: str | None
    note: str | None
    truth: bool | None
    """The message's own `is_fraud`, if a simulator or a replayed file set it; null until the transaction is stored."""

    @property
    def sentences(self) -> list[str]:
        """Why it was flagged, the strongest reason first; a rule's sentence starts with its name.

        Only that of a rule without a severity has the name in it already: the rules file no longer has the rule.
        """
        return [
            f"rule {reason['rule']}: {reason['sentence']}"
            if reason.get("severity")
            else str(reason["sentence"])
            for reason in self.reasons
            if reason.get("sentence")
        ]


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


def alerts(  # noqa: PLR0913 - one for each filter of a list
    postgres: PostgresSettings,
    *,
    limit: int = 50,
    since: datetime | None = None,
    sent_since: datetime | None = None,
    unreviewed: bool = False,
    user_id: str | None = None,
    min_risk: float = 0.0,
) -> list[Alert]:
    """Alerts, the newest decision first: at most `limit`, scored at `since` or later, with `risk` at `min_risk` or above.

    `sent_since` limits them to messages that entered Kafka at that time or later. Raises DatabaseError.
    """
    wanted = [
        (since is not None, "scored_at >= %(since)s"),
        (sent_since is not None, "sent_at >= %(sent_since)s"),
        # As an anti-join, which follows the index from the newest alert and stops; `verdict is null` reads every alert.
        (unreviewed, "not exists (select from shop.labels as l where l.transaction_id = a.transaction_id)"),
        (user_id is not None, "user_id = %(user_id)s"),
        (min_risk > 0, "risk >= %(min_risk)s"),
    ]
    conditions = [condition for is_wanted, condition in wanted if is_wanted]
    values = {
        "since": since, "sent_since": sent_since, "user_id": user_id, "min_risk": min_risk, "limit": limit,
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
    """The alert of a transaction, or None. Raises DatabaseError."""
    with connected(postgres) as connection:
        return row(connection, Alert, f"{ALERTS} where transaction_id = %s", (transaction_id,))


def score(postgres: PostgresSettings, transaction_id: str) -> Score | None:
    """The decision on a transaction, or None. Raises DatabaseError."""
    with connected(postgres) as connection:
        return row(connection, Score, f"{_SCORES} where transaction_id = %s", (transaction_id,))


ALERTS = f"select {columns(Alert)} from shop.alert_reviews"  # noqa: S608 - columns of a class of this module
_SCORES = f"select {columns(Score)} from shop.scores"  # noqa: S608
