"""What the figures of `health` mean: what is wrong, and how to fix it. Pure functions of a snapshot."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from fraudstream.store.drift import Drift, Moved
from fraudstream.store.health import (
    LATENCY_MINUTES,
    MOST_REJECTED,
    RATE_HOURS,
    REVIEW_DAYS,
    AlertRate,
    Latency,
    Reviews,
    Snapshot,
)
from fraudstream.store.pipeline import Progress
from fraudstream.store.review import ONLY_FRAUDS

MANY_TIMES = 2.0
"""Multiple of the alert budget from which the alert rate is reported."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    ok: bool
    sentence: str
    hint: str = ""
    """What to do if it is not ok."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream, over all its partitions."""

    name: str
    topic: str
    partitions: int
    lag: int
    """Messages waiting for it."""
    messages_per_second: float
    """0 if it does not run."""
    age_seconds: float
    """Since its last report."""
    runs: bool
    """Whether it reported recently."""
    still_seconds: float
    """Since it last made progress or had nothing to do, if messages are waiting."""
    patience_seconds: float | None
    """After how long without progress it counts as stuck; None if it never said."""
    stuck: bool
    """Whether it reports but makes no progress."""


def streams(progress: list[Progress]) -> list[Stream]:
    """Combine the progress of partitions, sorted by stream and topic, into streams."""
    found = []
    for (name, topic), group in groupby(progress, lambda p: (p.stream, p.topic)):
        partitions = list(group)
        behind = [p for p in partitions if p.lag]
        runs = any(p.runs for p in partitions)
        found.append(
            Stream(
                name,
                topic,
                len(partitions),
                sum(p.lag for p in partitions),
                max(p.pace for p in partitions),
                min(p.age_seconds for p in partitions),
                runs,
                min((p.still_seconds or 0.0 for p in behind), default=0.0),
                max((p.patience_seconds for p in partitions if p.patience_seconds is not None), default=None),
                bool(behind) and all(p.is_stuck for p in behind),
            )
        )
    return found


def findings(found: Snapshot) -> list[Finding]:
    """All findings, the streams first."""
    return [
        *map(_stream, streams(found.streams)),
        *_latency(found.latency),
        _champion(found),
        *_rate(found),
        _reviews(found.reviews),
        *([_drift(found.drift)] if found.drift else []),
        *_rejected(found),
    ]


def _stream(stream: Stream) -> Finding:
    name = f"stream {stream.name}"
    said = f"{stream.name} on {stream.topic}"
    if stream.stuck:
        return Finding(
            name,
            ok=False,
            sentence=f"{said} has made no progress for {duration(stream.still_seconds)}, and {stream.lag:,} messages are waiting.",
            hint=f"{_log(stream)} why; then restart it: {_command(stream)}. It resumes where it stopped.",
        )
    if stream.runs:
        pace = f"{stream.messages_per_second:,.0f} messages a second"
        return Finding(name, ok=True, sentence=f"{said}: {pace}, {stream.lag:,} waiting.")
    ago = f"Last heard from {duration(stream.age_seconds)} ago"
    if stream.lag:
        return Finding(
            name,
            ok=False,
            sentence=f"{said} is not running, and {stream.lag:,} messages are waiting. {ago}.",
            hint=f"Start it: {_command(stream)}. It resumes where it stopped.",
        )
    return Finding(name, ok=True, sentence=f"{said} is not running. {ago}, with nothing left to do.")


def _log(stream: Stream) -> str:
    if stream.name.split()[0] == "convert":  # without Spark
        return "Its log says"
    return f"Its log and logs/spark-{stream.name.split()[0]}.log below FRAUDSTREAM_HOME say"


def _command(stream: Stream) -> str:
    """The command that runs a stream: that of the scores belongs to `consume`, or to a command of its own."""
    if stream.name.split()[0] == "convert":
        return f"`fraudstream convert {stream.topic}` with its options"
    own = f"`fraudstream {stream.name}`"
    return (
        f"`fraudstream consume`, or {own} if it runs on its own" if stream.name == "consume scores" else own
    )


def _latency(latency: Latency) -> Iterator[Finding]:
    if latency.p50_ms is not None:
        yield Finding(
            "latency",
            ok=True,
            sentence=f"{latency.decisions:,} decisions in {LATENCY_MINUTES} minutes: p50 {latency.p50_ms:,.0f} ms,"
            f" p95 {latency.p95_ms:,.0f} ms, p99 {latency.p99_ms:,.0f} ms.",
        )


def _champion(found: Snapshot) -> Finding:
    if found.champion is None:
        return Finding(
            "model",
            ok=False,
            sentence="No model is scoring.",
            hint="Train one with `fraudstream train`; the first becomes champion automatically.",
        )
    threshold = (
        f", flags risk ≥ {found.champion.threshold:.3f}" if found.champion.threshold is not None else ""
    )
    return Finding(
        "model", ok=True, sentence=f"{found.champion.version} ({found.champion.algorithm}){threshold}."
    )


def _rate(found: Snapshot) -> Iterator[Finding]:
    pace, budget = found.pace, found.champion.alert_rate if found.champion else None
    if pace.alert_rate is None or pace.scores is None:
        return
    said = (
        f"{pace.alerts:,} of {pace.scores:,} decisions in the last {RATE_HOURS} hours, {pace.alert_rate:.2%}"
    )
    if budget is None:
        yield Finding("alert rate", ok=True, sentence=f"{said}.")
        return
    said += f"; the budget is {budget:.2%}."
    if _far_more(pace, budget):
        yield Finding(
            "alert rate",
            ok=False,
            sentence=said,
            hint="See in `fraudstream alerts list` what recurs: a rule, a merchant, an attack. If scores have"
            " drifted, train a new model.",
        )
    elif pace.alerts == 0 and budget * pace.scores >= 20:  # noqa: PLR2004 - by chance once in e^20
        yield Finding(
            "alert rate",
            ok=False,
            sentence=f"{said} No alerts at all is implausible.",
            hint="Compare `fraudstream models show` with the model that `fraudstream score` logs, or train a new one.",
        )
    else:
        yield Finding("alert rate", ok=True, sentence=said)


def _far_more(pace: AlertRate, budget: float) -> bool:
    """Whether it is beyond MANY_TIMES the budget, and beyond chance for so few."""
    expected = budget * (pace.scores or 0)
    return pace.alerts > MANY_TIMES * expected + 3 * math.sqrt(expected)


def _reviews(reviews: Reviews) -> Finding:
    said = (
        f"{reviews.alerts:,} alerts in the last {REVIEW_DAYS} days, {reviews.waiting:,} of them not reviewed"
    )
    if not reviews.reviewed:
        return Finding("alerts", ok=True, sentence=f"{said}.")
    if reviews.precision is None:
        said += f"; {reviews.confirmed:,} confirmed as fraud"
    else:
        low, high = wilson(reviews.confirmed, reviews.reviewed)
        said += f"; of those reviewed {reviews.precision:.0%} were fraud ({low:.0%} to {high:.0%})"
    if reviews.label_delay_seconds is not None:
        said += f", reviewed after {duration(reviews.label_delay_seconds)}"
    why = f" {ONLY_FRAUDS}" if reviews.precision is None else ""
    return Finding("alerts", ok=True, sentence=f"{said}.{why}")


def _drift(drift: Drift) -> Finding:
    said = f"{drift.day:%Y-%m-%d}: stability index {drift.psi:.3f} over {drift.scores:,} scores"
    if drift.moved is Moved.FAR:
        return Finding(
            "drift",
            ok=False,
            sentence=f"{said}: the risks are {drift.moved.value}.",
            hint="Train on newer transactions: `fraudstream train`, then `fraudstream models promote VERSION`.",
        )
    return Finding("drift", ok=True, sentence=f"{said}: {drift.moved.value}.")


def _rejected(found: Snapshot) -> Iterator[Finding]:
    many = found.rejected > MOST_REJECTED
    said = f"{f'More than {MOST_REJECTED:,}' if many else f'{found.rejected:,}'} messages could not be read"
    if floods := [topic for topic in found.unreadable if topic.is_flood]:
        topics = "; ".join(
            f"{t.rejected:,} of the newest {t.newest:,} of {t.topic} ({t.reason})" for t in floods
        )
        yield Finding(
            "rejected",
            ok=False,
            sentence=f"{said}, among them {topics}.",
            hint="Messages must look as docs/transaction.schema.json says: correct the topic's name or its sender, or"
            " convert them with `fraudstream convert`. `fraudstream rejected list` shows them.",
        )
    elif found.rejected:
        hint = "`fraudstream rejected list` shows why; after a fix, run `fraudstream rejected replay`."
        yield Finding("rejected", ok=True, sentence=f"{said}.", hint=hint)


def wilson(hits: float, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share with `hits` of `count`, by Wilson (1927)."""
    z = 1.96
    share, spread = hits / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def duration(seconds: float, *, short: bool = False) -> str:
    """A time span in the largest unit of which it has two: 90 minutes, not 2 hours; in `short` 90 min."""
    for size, unit, abbreviation in ((86_400, "days", "days"), (3_600, "hours", "h"), (60, "minutes", "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {abbreviation if short else unit}"
    return f"{round(seconds)} s"
