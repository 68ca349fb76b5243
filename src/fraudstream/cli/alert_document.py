"""Alerts and what surrounds them as the documents that `--json` prints."""

from typing import TYPE_CHECKING, Any

from fraudstream.cli.label import document as label_document

if TYPE_CHECKING:
    from fraudstream.store.alerts import Alert
    from fraudstream.store.explanation import Explanation
    from fraudstream.store.history import Past


def alert_document(alert: "Alert") -> dict[str, Any]:
    """An alert for `--json`."""
    return {
        "transaction_id": alert.transaction_id,
        "user_id": alert.user_id,
        "timestamp": alert.timestamp,
        "amount": alert.amount,
        "currency": alert.currency,
        "device": alert.device,
        "location": alert.location,
        "transaction_location": alert.transaction_location,
        "merchant_id": alert.merchant_id,
        "risk": alert.risk,
        "reasons": alert.reasons,
        "rules": alert.rules,
        "model_version": alert.model_version,
        "scored_at": alert.scored_at,
        "stored_at": alert.stored_at,
        "verdict": alert.verdict,
        "reviewed_at": alert.reviewed_at,
        "reviewed_by": alert.reviewed_by,
        "note": alert.note,
    }


def explanation_document(found: "Explanation") -> dict[str, Any]:
    """An explanation for `--json`: as an alert, with nulls where nothing was decided, and what surrounds it."""
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
        "labels": [label_document(said) for said in found.labels],
        "history": [_past_document(past) for past in found.history],
    }


def _past_document(past: "Past") -> dict[str, Any]:
    return {
        "transaction_id": past.transaction_id,
        "timestamp": past.timestamp,
        "amount": past.amount,
        "currency": past.currency,
        "device": past.device,
        "transaction_location": past.transaction_location,
        "merchant_id": past.merchant_id,
        "risk": past.risk,
        "flagged": past.flagged,
        "verdict": past.verdict,
    }
