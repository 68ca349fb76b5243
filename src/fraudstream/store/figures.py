"""The figures of `health` for Prometheus."""

from collections.abc import Iterator

from fraudstream.metrics import Figure
from fraudstream.store.findings import findings, streams
from fraudstream.store.health import LATENCY_MINUTES, RATE_HOURS, REVIEW_DAYS, Snapshot


def figures(found: Snapshot) -> Iterator[Figure]:
    """All of them, without what was never measured."""
    reviews, pace, drift, latency = found.reviews, found.pace, found.drift, found.latency
    for name, ok in _said(found).items():
        yield Figure(
            "finding_ok", "Whether a finding of `health` is as it should be.", float(ok), {"name": name}
        )
    counts = {"fraud": reviews.confirmed, "legitimate": reviews.dismissed, "waiting": reviews.waiting}
    for verdict, count in counts.items():
        yield Figure(
            "recent_alerts", f"Alerts of {REVIEW_DAYS} days by verdict.", count, {"verdict": verdict}
        )
    budget = found.champion.alert_rate if found.champion else None
    psi, by_chance = (drift.psi, drift.psi_by_chance) if drift else (None, None)
    measured: list[tuple[str, str, float | None]] = [
        (
            "alert_precision",
            f"Share of fraud among the reviewed alerts of {REVIEW_DAYS} days.",
            reviews.precision,
        ),
        ("label_delay_seconds", "Median from decision to verdict.", reviews.label_delay_seconds),
        ("alert_rate", f"Share of decisions that were flagged, {RATE_HOURS} hours.", pace.alert_rate),
        ("alert_rate_decisions", "Decisions that the alert rate is of.", pace.scores),
        ("alert_rate_budget", "Share that the champion should flag.", budget),
        ("score_drift_psi", "Population stability index of the champion's risks.", psi),
        ("score_drift_psi_by_chance", "The index to expect without any drift.", by_chance),
        ("rejected_waiting", "Messages that could not be read; counted up to 100,001.", found.rejected),
    ]
    for name, meaning, value in measured:
        if value is not None:
            yield Figure(name, meaning, value)
    for share, milliseconds in (("0.5", latency.p50_ms), ("0.95", latency.p95_ms), ("0.99", latency.p99_ms)):
        if milliseconds is not None:
            meaning = f"From a message's entry into Kafka to its decision, {LATENCY_MINUTES} minutes."
            yield Figure("decision_latency_seconds", meaning, milliseconds / 1000, {"quantile": share})
    yield from _of_streams(found)


def _said(found: Snapshot) -> dict[str, bool]:
    """Whether each finding is as it should be; of those with one name, as of a stream with two topics, whether all are."""
    said: dict[str, bool] = {}
    for finding in findings(found):
        said[finding.name] = said.get(finding.name, True) and finding.ok
    return said


def _of_streams(found: Snapshot) -> Iterator[Figure]:
    for at in found.streams:
        where = {"stream": at.stream, "topic": at.topic, "partition": str(at.partition)}
        yield Figure("lag_messages", "Messages waiting.", at.lag, where)
    running = [({"stream": s.name, "topic": s.topic}, s) for s in streams(found.streams)]
    for labels, stream in running:
        yield Figure(
            "messages_per_second", "Messages per second of a stream.", stream.messages_per_second, labels
        )
    for labels, stream in running:
        yield Figure(
            "heartbeat_age_seconds", "Since a stream last reported its position.", stream.age_seconds, labels
        )
    for labels, stream in running:
        meaning = "Since a stream last made progress, or had nothing to do."
        yield Figure("progress_age_seconds", meaning, stream.still_seconds, labels)
    for labels, stream in running:
        if stream.patience_seconds is not None:
            meaning = "How long without progress a stream may be before it counts as stalled."
            yield Figure("patience_seconds", meaning, stream.patience_seconds, labels)
