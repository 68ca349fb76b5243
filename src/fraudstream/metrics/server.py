"""Serves `/metrics` and `/healthz` in the background."""

import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from fraudstream.errors import SettingsError
from fraudstream.logs import get_logger
from fraudstream.metrics.monitor import Health
from fraudstream.settings import MetricsSettings, bracketed

log = get_logger("metrics")

SILENT_SECONDS = 10.0
"""Seconds after which a connection without a request is closed, so that it does not occupy a thread forever."""


@contextmanager
def served(
    settings: MetricsSettings, health: Callable[[], Health], registry: CollectorRegistry
) -> Iterator[str | None]:
    """Serve `/metrics` and `/healthz` in the background while the block runs; yields the address, or None without a port.

    Raises SettingsError if the port cannot be used.
    """
    if settings.port is None:
        yield None
        return
    disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter, which nobody asks for
    host = bracketed(settings.host)
    try:
        server = _Server(settings.host, settings.port)
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"Metrics cannot be served at {host}:{settings.port}: {error}.",
            hint="Choose another port with --metrics-port, or 0 for any free one. FRAUDSTREAM_METRICS__HOST must be an"
            " address of this machine.",
        ) from None
    server.health, server.registry = health, registry
    address = f"http://{host}:{server.server_port}"
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

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def handle_error(self, request: object, client_address: tuple[str, int]) -> None:  # noqa: ARG002 - the base class calls it so
        """Log it like everything else: the base class prints a traceback, even among lines of JSON."""
        kind, error, _ = sys.exc_info()
        # Probes of load balancers do this, many times a minute.
        if isinstance(error, (ConnectionError, TimeoutError)):
            log.debug("%s dropped its connection: %s", client_address[0], error)
        elif kind is not None:
            traceback = log.isEnabledFor(logging.DEBUG)
            log.error(
                "a request of %s failed: %s: %s",
                *(client_address[0], kind.__name__, error),
                exc_info=traceback,
            )


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SILENT_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self.server.health()  # updates the figures of monitors that are read on demand
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
