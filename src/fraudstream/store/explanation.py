"""Everything that is known of one transaction, put together for whoever has to judge it."""

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
    """A transaction, the decision on it, and its surroundings."""

    subject: Alert | Score | Past
    """The one of the next three that says most."""
    alert: Alert | None
    score: Score | None
    transaction: Past | None
    """As it is stored; None where it is not (yet)."""
    threshold: float | None
    """From which risk on the model flags; None where the registry does not have the model."""
    labels: list[Label]
    """What people said; the last one counts."""
    history: list[Past]
    """What the customer did around it, in order of time; itself among it."""
    hindsight: list[str] = field(default_factory=list)
    """What the history knows better than the reasons, in sentences."""

    @property
    def decision(self) -> Alert | Score | None:
        """What was decided."""
        return self.alert or self.score


def explain(postgres: PostgresSettings, transaction_id: str) -> Explanation:
    """What is known of a transaction, with BEFORE of its customer's transactions up to it and AFTER of them behind it.

    Raises InputError where nothing is known, DatabaseError.
    """
    alert = alerts.alert(postgres, transaction_id)
    score = alerts.score(postgres, transaction_id)
    stored = history.transaction(postgres, transaction_id)
    said = labels.said(postgres, transaction_id)
    one = alert or score or stored
    if one is None:
        waiting = " A label waits for it." if said else ""
        raise InputError(
            f"Nothing is known about transaction {transaction_id}: it is neither stored nor scored.{waiting}",
            hint="Check the id; `fraudstream alerts list` shows those that were flagged, `fraudstream health` how far"
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
    """The model may be in another registry, or in a directory: then nobody here knows."""
    found = registry.find(postgres, version)
    threshold = found.manifest.get("threshold") if found else None
    return float(threshold) if isinstance(threshold, (int, float)) else None
