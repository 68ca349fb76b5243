"""Alerts and their explanations as the documents that `--json` prints."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fraudstream.store.alerts import Alert
    from fraudstream.store.explanation import Explanation

HIDDEN = {"sent_at", "features", "truth"}
"""Fields of an alert that are not shown. The message's own truth would tell a test reader the answer."""


def alert_document(alert: "Alert") -> dict[str, Any]:
    """An alert for `--json`."""
    return {name: value for name, value in asdict(alert).items() if name not in HIDDEN}


def explanation_document(found: "Explanation") -> dict[str, Any]:
    """An explanation for `--json`: an alert, with nulls if nothing was decided, and its context."""
    decision = found.decision
    decided: dict[str, Any] = {
        "transaction_id": found.subject.transaction_id,
        "user_id": found.subject.user_id,
        "timestamp": found.subject.timestamp,
        "amount": found.subject.amount,
        "risk": decision.risk if decision else None,
        "reasons": [],
        "rules": decision.rules if decision else [],
        "model_version": decision.model_version if decision else None,
        "scored_at": decision.scored_at if decision else None,
        "verdict": found.labels[-1].is_fraud if found.labels else None,
    }
    if found.alert:
        decided |= alert_document(found.alert) | {"features": found.alert.features}
    return decided | {
        "stored": found.transaction is not None,
        "scored": decision is not None,
        "flagged": found.alert is not None,
        "threshold": found.threshold,
        "hindsight": found.hindsight,
        "labels": [asdict(said) for said in found.labels],
        "history": [
            {name: value for name, value in asdict(past).items() if name not in ("user_id", "location")}
            for past in found.history
        ],
    }
