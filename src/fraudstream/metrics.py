"""What a long command tells of itself while it runs: figures for Prometheus, and whether it is well.

A `Monitor` is told by the streams and asked by whoever opens `/metrics` or `/healthz`. It costs a few additions
for each batch, so every stream has one, whether it is served or not.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from fraudstream.errors import SettingsError
from fraudstream.logs import get_logger
from fraudstream.settings import MetricsSettings

log = get_logger("metrics")

SILENT_SECONDS = 10.0
"""A connection that sends no request is closed: it must not hold a thread for ever."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream stands in a partition: `next_offset` is the first message that it has not done."""

    next_offset: int
    end_offset: int

    @property
    def lag(self) -> int:
        """Messages that wait."""
        return max(self.end_offset - self.next_offset, 0)


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a command is well, and a sentence that says so or says what is wrong."""

    ok: bool
    sentence: str


@dataclass(slots=True)
class _Stream:
    """What is known of one stream; times by the monitor's clock."""

    moved_at: float
    """When it last got on, or had nothing to do."""
    seen_at: float
    """When somebody last looked where it stands."""
    positions: Mapping[int, Position] = field(default_factory=dict)
    trouble: str | None = None

    @property
    def lag(self) -> int:
        return sum(position.lag for position in self.positions.values())


class Monitor:
    """One command's figures and its health. Threads may tell and ask at once."""

    def __init__(
        self, command: str, stalled_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._command, self._patience, self._clock = command, stalled_seconds, clock
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._stored = self._counter("rows_stored", "Rows that were stored.", "target")
        self._duplicates = self._counter("rows_duplicate", "Rows that were stored before.", "target")
        self._rejected = self._counter("messages_rejected", "Messages that could not be read.")
        self._restarts = self._counter(
            "restarts", "Times that a stream began again after a failure.", "stream"
        )
        self._sent = self._counter("messages_sent", "Messages that were given to Kafka.")
        self._failed = self._counter("messages_failed", "Messages that Kafka did not acknowledge.")
        self._lag = self._gauge("lag_messages", "Messages that wait.", "stream", "topic", "partition")
        self._rate = self._gauge("messages_per_second", "Pace of a stream.", "stream")
        self._age = self._gauge(
            "progress_age_seconds", "Since a stream last got on, or had nothing to do.", "stream"
        )
        self._gauge("healthy", "What /healthz says: 1 is well.").set_function(lambda: float(self.health().ok))

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"fraudstream_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"fraudstream_{name}", meaning, labels, registry=self.registry)

    def stored(self, stored: Mapping[str, int], duplicates: Mapping[str, int], rejected: int) -> None:
        """A slice was stored: rows by target, and messages that could not be read."""
        for target, count in stored.items():
            self._stored.labels(target).inc(count)
        for target, count in duplicates.items():
            self._duplicates.labels(target).inc(count)
        self._rejected.inc(rejected)

    def sent(self, count: int) -> None:
        """So many messages more were given to Kafka."""
        self._sent.inc(count)

    def failed(self, count: int) -> None:
        """So many messages more were not acknowledged."""
        self._failed.inc(count)

    def begun(self, stream: str) -> None:
        """A stream runs from now on, and is expected to get on."""
        with self._lock:
            now = self._clock()
            self._streams[stream] = _Stream(now, now)
        self._age.labels(stream).set_function(lambda: self._since_moved(stream))
        self._restarts.labels(stream)

    def ended(self, stream: str) -> None:
        """A stream has ended, and nothing is expected of it any more."""
        with self._lock:
            self._streams.pop(stream, None)

    def stands(self, stream: str, topic: str, positions: Mapping[int, Position], rate: float) -> None:
        """Where a stream stands now, and how many messages a second it did since the last look."""
        with self._lock:
            known = self._streams.get(stream)
            if known is None:
                return
            now = self._clock()
            moved = any(
                p not in known.positions or position.next_offset > known.positions[p].next_offset
                for p, position in positions.items()
            )
            known.positions, known.seen_at, known.trouble = positions, now, None
            if moved or not known.lag:
                known.moved_at = now
        self._rate.labels(stream).set(rate)
        for partition, position in positions.items():
            self._lag.labels(stream, topic, partition).set(position.lag)

    def lost(self, stream: str, reason: str) -> None:
        """A stream cannot get on: PostgreSQL or Kafka is away. Until it is told where it stands again."""
        with self._lock:
            if stream in self._streams:
                self._streams[stream].trouble = reason

    def restarted(self, stream: str, reason: str) -> None:
        """A stream failed, and begins again."""
        self._restarts.labels(stream).inc()
        self.lost(stream, reason)

    def found(self, stream: str) -> None:
        """What was lost answers again."""
        with self._lock:
            if stream in self._streams:
                self._streams[stream].trouble = None

    def _since_moved(self, stream: str) -> float:
        with self._lock:
            known = self._streams.get(stream)
            return self._clock() - known.moved_at if known else 0.0

    def health(self) -> Health:
        """Well as long as every stream gets on, or has nothing to do."""
        with self._lock:
            if not self._streams:
                return Health(ok=False, sentence=f"{self._command} is starting or stopping.")
            now = self._clock()
            troubles = [
                said for name, known in self._streams.items() if (said := self._trouble(name, known, now))
            ]
            lag = sum(known.lag for known in self._streams.values())
        if troubles:
            return Health(ok=False, sentence=" ".join(troubles))
        return Health(ok=True, sentence=f"{self._command} is well; {lag:,} messages wait.")

    def _trouble(self, name: str, known: _Stream, now: float) -> str | None:
        if known.trouble:
            return f"{name}: {known.trouble}"
        if known.positions and now - known.seen_at > self._patience:
            return f"{name} has not said for {now - known.seen_at:.0f} s where it stands."
        if known.lag and now - known.moved_at > self._patience:
            return f"{name} has not got on for {now - known.moved_at:.0f} s; {known.lag:,} messages wait."
        return None


@contextmanager
def served(
    settings: MetricsSettings, health: Callable[[], Health], registry: CollectorRegistry
) -> Iterator[str | None]:
    """Serve `/metrics` and `/healthz` in the background while the block runs; yields the address, None where no port is set.

    Raises SettingsError where the port cannot be taken.
    """
    if settings.port is None:
        yield None
        return
    try:
        server = _Server((settings.host, settings.port), _Handler)
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"Metrics cannot be served at {settings.host}:{settings.port}: {error}.",
            hint="Choose another port with --metrics-port, or 0 for any free one.",
        ) from None
    server.health, server.registry = health, registry
    address = f"http://{settings.host}:{server.server_port}"
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    log.info("metrics at %s/metrics, health at %s/healthz", address, address)
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    health: Callable[[], Health]
    registry: CollectorRegistry


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SILENT_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self.server.registry))
        elif path == "/healthz":
            health = self.server.health()
            status = HTTPStatus.OK if health.ok else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, "text/plain; charset=utf-8", f"{health.sentence}\n".encode())
        else:
            self._answer(
                HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"There are /metrics and /healthz.\n"
            )

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *values: object) -> None:
        log.debug(form, *values)
