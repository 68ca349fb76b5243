"""`fraudstream health`: the state of the model and the streams."""

import threading
import time
from concurrent.futures import Future, wait
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from fraudstream.cli.options import MetricsPort
from fraudstream.cli.output import Json, print_document
from fraudstream.errors import DatabaseError, DatabaseUnreachable, ExitCode, FraudstreamError, UsageError
from fraudstream.logs import printable

if TYPE_CHECKING:
    from fraudstream.metrics import Figure, Health
    from fraudstream.settings import PostgresSettings, Settings
    from fraudstream.store.findings import Finding
    from fraudstream.store.health import Snapshot

REMEMBERED_SECONDS = 5.0
"""Seconds for which an answer is reused, so that frequent requests do not load the database."""
CONNECT_SECONDS = 3
"""Connection timeout for a request over HTTP: Prometheus waits 10 s in all, and gets an answer even if the host is silent."""
ANSWER_SECONDS = 9.0
"""Seconds that such a request waits for all of PostgreSQL's answers, as one that hangs keeps none of its own timeouts."""


def health(metrics_port: MetricsPort = None, as_json: Json = False) -> None:
    """Check streams, lag, latency, alerts, precision and drift.

    Exits with status 1 if anything is wrong, and says how to fix it. With --metrics-port it keeps running, and serves the
    same figures to Prometheus until Ctrl-C.
    """
    from fraudstream.settings import load
    from fraudstream.store.findings import findings
    from fraudstream.store.health import snapshot
    from fraudstream.store.migrate import migrate

    if metrics_port is not None and as_json:
        raise UsageError(
            "--json prints the figures once, --metrics-port keeps serving them.", hint="Leave one out."
        )
    settings = load(metrics={"port": metrics_port})
    migrate(settings.postgres)
    if metrics_port is not None:  # the flag only: an image may set the port for the long-running commands
        _serve(settings)
        return
    found = snapshot(settings.postgres)
    said = findings(found)
    if as_json:
        print_document(document(found, said))
    else:
        _show(said)
    if not all(finding.ok for finding in said):
        raise typer.Exit(ExitCode.FAILED)


def document(found: "Snapshot", said: "list[Finding]") -> dict[str, Any]:
    """A snapshot and what it means, for `--json`."""
    from fraudstream.store.findings import streams

    return {
        "ok": all(finding.ok for finding in said),
        "findings": [asdict(finding) for finding in said],
        "model": asdict(found.champion) if found.champion else None,
        "alerts": asdict(found.reviews) | {"precision": found.reviews.precision},
        "alert_rate": asdict(found.pace) | {"alert_rate": found.pace.alert_rate},
        "drift": asdict(found.drift) if found.drift else None,
        "latency": asdict(found.latency),
        "streams": [
            asdict(stream)
            | {
                "lag_by_partition": {
                    str(p.partition): p.lag
                    for p in found.streams
                    if (p.stream, p.topic) == (stream.name, stream.topic)
                },
            }
            for stream in streams(found.streams)
        ],
        "rejected": found.rejected,
        "unreadable": [asdict(topic) for topic in found.unreadable],
    }


def _show(said: "list[Finding]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for finding in said:
        line = Text(printable(finding.sentence))
        if finding.hint:
            line.append(f"\nNext: {finding.hint}", "dim" if finding.ok else "bold")
        mark = Text("ok", "green") if finding.ok else Text("!!", "bold red")
        table.add_row(mark, Text(finding.name, "bold"), line)
    Console().print(table)


class _Look:
    """The current state, for requests over HTTP."""

    def __init__(self, postgres: "PostgresSettings") -> None:
        wait = min(postgres.connect_timeout_seconds, CONNECT_SECONDS)
        self._postgres = postgres.model_copy(update={"connect_timeout_seconds": wait})
        self._lock = threading.Lock()
        self._found: Snapshot | FraudstreamError | None = None
        self._at = 0.0

    def _look(self) -> "Snapshot | FraudstreamError":
        with self._lock:
            if self._found is None or time.monotonic() - self._at > REMEMBERED_SECONDS:
                self._found = self._asked()
                self._at = time.monotonic()
            return self._found

    def _asked(self) -> "Snapshot | FraudstreamError":
        """What a thread of its own hears, which is left alone with a PostgreSQL that hangs."""
        from fraudstream.store.connection import abandon

        answer: Future[Snapshot] = Future()
        thread = threading.Thread(target=self._ask, args=(answer,), name="look", daemon=True)
        thread.start()
        if not wait([answer], ANSWER_SECONDS).done:
            abandon(thread.ident)
            return DatabaseUnreachable(
                f"PostgreSQL at {self._postgres.address} has not answered for {ANSWER_SECONDS:g} s."
            )
        try:
            return answer.result()
        except DatabaseError as error:
            return error

    def _ask(self, answer: "Future[Snapshot]") -> None:
        from fraudstream.store.health import snapshot

        try:
            answer.set_result(snapshot(self._postgres))
        except Exception as error:  # noqa: BLE001 - raised again where somebody waits for the answer
            answer.set_exception(error)

    def health(self) -> "Health":
        """Healthy if every finding is."""
        from fraudstream.metrics import Health
        from fraudstream.store.findings import findings

        found = self._look()
        if isinstance(found, FraudstreamError):
            return Health(ok=False, sentence=found.message)
        wrong = [finding.sentence for finding in findings(found) if not finding.ok]
        return Health(ok=not wrong, sentence=" ".join(wrong) or "Everything is healthy.")

    def figures(self) -> "list[Figure]":
        """The figures of the findings, or only that the database is unreachable."""
        from fraudstream.metrics import Figure
        from fraudstream.store.figures import figures

        found = self._look()
        up = Figure(
            "database_up", "Whether PostgreSQL responds.", float(not isinstance(found, FraudstreamError))
        )
        return [up] if isinstance(found, FraudstreamError) else [up, *figures(found)]


def _serve(settings: "Settings") -> None:
    from prometheus_client import CollectorRegistry

    from fraudstream.metrics import Figures, served

    look, registry = _Look(settings.postgres), CollectorRegistry()
    registry.register(Figures(look.figures))
    with served(settings.metrics, look.health, registry):
        threading.Event().wait()  # until Ctrl-C or SIGTERM
