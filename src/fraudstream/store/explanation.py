"""Everything known about one transaction, for its reviewer."""

from dataclasses import dataclass, field

from fraudstream.errors import InputError
from fraudstream.settings import PostgresSettings
from fraudstream.store import alerts, history, labels, registry
from fraudstream.store.alerts import Alert, Score
from fraudstream.store.hindsight import SEEN, hindsight
from fraudstream.store.history import Past
from fraudstream.store.labels import Label

BEFORE, AFTER = 8, 4
"""Transactions of the customer that are shown, fewer than the SEEN that hindsight looks at."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A transaction, the decision on it, and its context."""

    subject: Alert | Score | Past
    """The most informative of the next three fields."""
    alert: Alert | None
    score: Score | None
    transaction: Past | None
    """As it is stored; None if it is not stored (yet)."""
    threshold: float | None
    """The model's threshold; None if the registry does not have the model."""
    labels: list[Label]
    """Its labels; the last one counts."""
    history: list[Past]
    """The customer's transactions around it, including itself, in order of time."""
    hindsight: list[str] = field(default_factory=list)
    """Sentences about payments that the profile lacked at the time of the decision."""

    @property
    def decision(self) -> Alert | Score | None:
        """The decision on it, if there is one."""
        return self.alert or self.score


def explain(postgres: PostgresSettings, transaction_id: str) -> Explanation:
    """Everything known about a transaction, with BEFORE of its customer's transactions before it and AFTER after it.

    Raises InputError if nothing is known, DatabaseError.
    """
    alert = alerts.alert(postgres, transaction_id)
    score = alerts.score(postgres, transaction_id)
    stored = history.transaction(postgres, transaction_id)
    said = labels.said(postgres, transaction_id)
    one = alert or score or stored
    if one is None:
        waiting = " Its label is kept for it." if said else ""
        raise InputError(
            f"Nothing is known about transaction {transaction_id}: it is neither stored nor scored.{waiting}",
            hint="Check the id. `fraudstream alerts list` shows flagged transactions, `fraudstream health` how far"
            " the streams are.",
        )
    decision = alert or score
    threshold = _threshold(postgres, decision.model_version) if decision else None
    around = history.history(postgres, one.user_id, one.timestamp, before=SEEN, after=AFTER)
    later = sum(past.timestamp > one.timestamp for past in around)
    better = hindsight(alert, around) if alert else []
    shown = around[max(len(around) - later - BEFORE, 0) :]
    return Explanation(one, alert, score, stored, threshold, said, shown, better)


def _threshold(postgres: PostgresSettings, version: str) -> float | None:
    """The threshold of a model; None if it is in another registry or in a directory."""
    found = registry.find(postgres, version)
    threshold = found.manifest.get("threshold") if found else None
    return float(threshold) if isinstance(threshold, (int, float)) else None
