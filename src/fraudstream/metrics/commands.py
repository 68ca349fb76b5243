"""Metrics of each command beyond the positions of its streams."""

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from fraudstream.metrics.monitor import Health, Monitor
from fraudstream.metrics.standing import Standing


class ConsumeMonitor(Monitor):
    """Monitor of `consume`: counts what it stored."""

    def __init__(self, stalled_seconds: float = 60.0) -> None:
        super().__init__("consume", stalled_seconds)
        self._stored = self._counter("rows_stored", "Rows that were stored.", "target")
        self._duplicates = self._counter("rows_duplicate", "Rows that were already stored.", "target")
        self._rejected = self._counter("messages_rejected", "Messages that could not be read.")
        self._ahead = self._counter(
            "transactions_from_future", "Transactions dated too far in the future to be in the profiles."
        )
        self._unknown = self._counter("fields_unknown", "Fields that the schema does not have, ignored.")

    def stored(
        self,
        stored: Mapping[str, int],
        duplicates: Mapping[str, int],
        rejected: int,
        *,
        from_future: int,
        unknown_fields: int,
    ) -> None:
        """Count a stored slice: rows by target, messages that could not be read, and what was stored in part."""
        for counter, counts in ((self._stored, stored), (self._duplicates, duplicates)):
            for target, count in counts.items():
                counter.labels(target).inc(count)
        self._rejected.inc(rejected)
        self._ahead.inc(from_future)
        self._unknown.inc(unknown_fields)


class ScoreMonitor(Monitor):
    """Monitor of `score`: decisions, their latency, and the profiles they use."""

    def __init__(self, stalled_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("score", stalled_seconds, clock)
        self._decisions = self._counter("decisions", "Decisions made.")
        self._flagged = self._counter("decisions_flagged", "Decisions that flagged their transaction.")
        self._refused = self._counter(
            "decisions_refused", "Messages that could not be read: the answer is a refusal with the reason."
        )
        self._latency = self._gauge(
            "decision_latency_seconds",
            "From a message's entry into Kafka to its decision, recently.",
            "quantile",
        )
        self._profiles_at = self._gauge(
            "profiles_timestamp_seconds", "The time of the profiles that decisions use."
        )
        self._profiles_at.set(math.nan)  # no decisions yet

    def answered(
        self,
        stream: str,
        decisions: int,
        flagged: int,
        refused: int,
        latency_ms: Mapping[float, float | None],
    ) -> None:
        """Count the answers since the last call, with quantiles of their latency."""
        self._decisions.inc(decisions)
        self._flagged.inc(flagged)
        self._refused.inc(refused)
        for share, milliseconds in latency_ms.items():
            seconds = math.nan if milliseconds is None else milliseconds / 1000
            self._latency.labels(str(share)).set(seconds)
        if decisions or refused:
            self.moved(stream)

    def judges_by(self, stream: str, profiles_at: datetime, *, stale: bool) -> None:
        """Note the time of the profiles that decisions use; `stale` if PostgreSQL is unavailable for newer ones."""
        self._profiles_at.set(profiles_at.timestamp())
        since = f"PostgreSQL is unavailable: decisions use the profiles of {profiles_at:%H:%M:%S} UTC."
        self.remark(stream, since if stale else None)


class ConvertMonitor(Monitor):
    """Monitor of `convert`: what became of another topic's messages."""

    def __init__(self, stalled_seconds: float = 60.0) -> None:
        super().__init__("convert", stalled_seconds)
        self._converted = self._counter(
            "messages_converted", "Messages of another topic that became transactions."
        )
        self._unreadable = self._counter(
            "messages_passed_on", "Messages that could not be converted, and were sent as they are."
        )
        self._skipped = self._counter("messages_skipped", "Messages that are no payments.")

    def counted(self, converted: int, unreadable: int, skipped: int) -> None:
        """Count messages that were read."""
        self._converted.inc(converted)
        self._unreadable.inc(unreadable)
        self._skipped.inc(skipped)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a producer has done so far, in messages."""

    taken: int
    waiting: int
    """Accepted but not acknowledged yet."""
    failed: int

    @property
    def acknowledged(self) -> int:
        """The messages that Kafka acknowledged."""
        return self.taken - self.waiting - self.failed


class ProduceMonitor(Monitor):
    """Monitor of `produce`: what it sent to Kafka. Reads the producer's counts on demand."""

    STREAM = "produce"

    def __init__(self, stalled_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("produce", stalled_seconds, clock)
        self._acknowledged = self._counter("messages_sent", "Messages that Kafka acknowledged.")
        self._failed = self._counter("messages_failed", "Messages that Kafka did not acknowledge.")
        self._asking = threading.Lock()
        self._look: Callable[[], Sent] | None = None
        self._topic, self._at = "", 0.0
        self._counted = self._counted_failed = 0
        self._refused = 0
        """Messages that failed since the last one that was acknowledged."""
        self._acknowledged_at = 0.0

    def follow(self, topic: str, look: Callable[[], Sent]) -> None:
        """Read the counts from `look` from now on."""
        self._topic, self._look = topic, look
        self._at = self._acknowledged_at = self._clock()
        self.begun(self.STREAM)

    def health(self) -> Health:
        """The current health, like `Monitor.health`."""
        if self._look is not None:
            with self._asking:
                self._take_note(self._look())
        return super().health()

    def _take_note(self, sent: Sent) -> None:
        now = self._clock()
        # The acknowledged count seems lower while a batch is queued but not counted as taken, so it must not decrease.
        acknowledged = max(sent.acknowledged, self._counted)
        more = acknowledged - self._counted
        self._acknowledged.inc(more)
        self._failed.inc(sent.failed - self._counted_failed)
        done, rate = sent.taken - sent.waiting, more / max(now - self._at, 1e-3)
        self.stands(self.STREAM, Standing(self._topic, {0: done}, {0: sent.taken}, rate))
        self._refused = 0 if more else self._refused + sent.failed - self._counted_failed
        if more:
            self._acknowledged_at = now
        elif self._refused and now - self._acknowledged_at > self._patience:
            self.lost(self.STREAM, f"Kafka accepted none of the last {self._refused:,} messages.")
        self._counted, self._counted_failed, self._at = acknowledged, sent.failed, now
