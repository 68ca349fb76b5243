"""Health and metrics of a long-running command.

Streams update a `Monitor`; requests for `/metrics` and `/healthz` read it. It costs a few additions
per batch, so every stream has one, whether it is served or not.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from fraudstream.metrics.standing import Standing

_NOWHERE: Final = Standing("", {}, {}, 0.0)


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a command is healthy, and a sentence that says so or what is wrong."""

    ok: bool
    sentence: str


@dataclass(slots=True)
class _Stream:
    """The state of one stream; times are by the monitor's clock."""

    moved_at: float
    """When it last made progress or had nothing to do."""
    seen_at: float
    """When its position was last reported; before the first report, when it began."""
    standing: Standing = _NOWHERE
    trouble: str | None = None
    """Why it cannot make progress, if so."""
    remark: str | None = None
    """A problem that does not stop its progress."""

    @property
    def lag(self) -> int:
        return sum(self.standing.lag(partition) for partition in self.standing.reached)


class Monitor:
    """Positions and health of one command's streams. Thread-safe."""

    def __init__(
        self, command: str, stalled_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._command, self._patience, self._clock = command, stalled_seconds, clock
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._state = "starting"
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._restarts = self._counter("restarts", "Restarts of a stream after a failure.", "stream")
        self._lag = self._gauge("lag_messages", "Messages waiting.", "stream", "topic", "partition")
        self._rate = self._gauge("messages_per_second", "Messages per second of a stream.", "stream")
        self._age = self._gauge(
            "progress_age_seconds", "Since a stream last made progress, or had nothing to do.", "stream"
        )
        self._allowed = self._gauge(
            "patience_seconds",
            "How long without progress a stream may be before it counts as stalled.",
            "stream",
        )
        self._gauge("healthy", "What /healthz reports: 1 is healthy.").set_function(
            lambda: float(self.health().ok)
        )

    @property
    def patience(self) -> float:
        """Seconds without progress after which a stream counts as stalled."""
        return self._patience

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"fraudstream_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"fraudstream_{name}", meaning, labels, registry=self.registry)

    def begun(self, stream: str) -> None:
        """Note that a stream has started, and should make progress from now on."""
        with self._lock:
            now = self._clock()
            self._streams[stream] = _Stream(now, now)
            self._state = "stopping"  # once no streams are left
        self._age.labels(stream).set_function(lambda: self._since_moved(stream))
        self._allowed.labels(stream).set(self._patience)
        self._restarts.labels(stream)

    def ended(self, stream: str) -> None:
        """Note that a stream has ended."""
        with self._lock:
            self._streams.pop(stream, None)

    @contextmanager
    def _known(self, stream: str) -> Iterator[_Stream]:
        """The stream, locked for changes by one thread at a time; changes to one that has ended are discarded."""
        with self._lock:
            yield self._streams.get(stream) or _Stream(0.0, 0.0)

    def stands(self, stream: str, standing: Standing) -> None:
        """Set where a stream stands, and its rate."""
        with self._known(stream) as known:
            before, now = known.standing.reached, standing.reached
            moved = any(p not in before or offset > before[p] for p, offset in now.items())
            known.standing, known.seen_at, known.trouble = standing, self._clock(), None
            if moved or not known.lag:
                known.moved_at = known.seen_at
        self._rate.labels(stream).set(standing.rows_per_second)
        for gone in before.keys() - now.keys():  # the topic was recreated with fewer
            self._lag.remove(stream, standing.topic, gone)
        for partition in now:
            self._lag.labels(stream, standing.topic, partition).set(standing.lag(partition))

    def moved(self, stream: str) -> None:
        """Note that a stream made progress, whatever its position."""
        with self._known(stream) as known:
            known.moved_at = known.seen_at = self._clock()
            known.trouble = None

    def lost(self, stream: str, reason: str, rate: float | None = None) -> None:
        """Note that a stream cannot make progress, as PostgreSQL or Kafka is unavailable. Lasts until its next position.

        Its rate is unchanged if no newer one is known.
        """
        with self._known(stream) as known:
            known.trouble = reason
        if rate is not None:
            self._rate.labels(stream).set(rate)

    def restarted(self, stream: str, reason: str) -> None:
        """Note that a stream failed and restarts."""
        self._restarts.labels(stream).inc()
        self.lost(stream, reason, 0.0)

    def remark(self, stream: str, said: str | None) -> None:
        """Set a problem that does not stop the stream's progress, or None."""
        with self._known(stream) as known:
            known.remark = said

    def _since_moved(self, stream: str) -> float:
        with self._lock:
            known = self._streams.get(stream)
            return self._clock() - known.moved_at if known else 0.0

    def health(self) -> Health:
        """Healthy as long as every stream makes progress or has nothing to do."""
        with self._lock:
            if not self._streams:
                return Health(ok=False, sentence=f"{self._command} is {self._state}.")
            now = self._clock()
            troubles: dict[str, list[str]] = {}
            for name, known in self._streams.items():
                if trouble := self._trouble(known, now):
                    troubles.setdefault(trouble, []).append(name)
            lag = sum(known.lag for known in self._streams.values())
            remarks = [known.remark for known in self._streams.values() if known.remark]
        if troubles:
            # Two streams that wait for the same PostgreSQL are combined into one sentence.
            said = [f"{' and '.join(names)}: {trouble}" for trouble, names in troubles.items()]
            return Health(ok=False, sentence=" ".join([*said, *remarks]))
        return Health(
            ok=True,
            sentence=" ".join([f"{self._command} is healthy; {lag:,} messages are waiting.", *remarks]),
        )

    def _trouble(self, known: _Stream, now: float) -> str | None:
        if known.trouble:
            return known.trouble
        if now - known.seen_at > self._patience:
            return f"has not reported progress for {now - known.seen_at:.0f} s."
        if known.lag and now - known.moved_at > self._patience:
            return (
                f"has made no progress for {now - known.moved_at:.0f} s; {known.lag:,} messages are waiting."
            )
        return None
