"""What `health --metrics-port` says of a PostgreSQL that says nothing."""

import socket
import threading
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from false_postgres import WELCOME, false_postgres
from fraudstream.cli import health
from fraudstream.cli.health import _Look
from fraudstream.metrics import Figures, served
from fraudstream.settings import MetricsSettings, PostgresSettings
from http_get import get
from waiting import wait_until


def test_a_database_whose_machine_fell_silent_is_down_before_prometheus_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It waits 10 s for an answer, as we did for PostgreSQL's: `database_up` was never 0."""
    waits: list[int] = []
    connect = psycopg.connect

    def recorded(**options: Any) -> Any:
        waits.append(options["connect_timeout"])
        return connect(**options)

    monkeypatch.setattr(psycopg, "connect", recorded)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never a word
        look = _Look(PostgresSettings(host="127.0.0.1", port=silent.getsockname()[1]))
        registry = CollectorRegistry()
        registry.register(Figures(look.figures))
        with served(MetricsSettings(port=0), look.health, registry) as address:
            assert "fraudstream_database_up 0.0" in get(f"{address}/metrics")[1].splitlines()
    assert waits == [3]


def test_a_database_that_takes_a_question_and_never_answers_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that stalls: no timeout of the server ends that, and neither /metrics nor /healthz answered any more."""
    assert health.ANSWER_SECONDS < 10, "Prometheus gives up after 10 s, and takes the command for gone"
    monkeypatch.setattr(health, "ANSWER_SECONDS", 0.5)
    with false_postgres(WELCOME, hangs=True) as hanging:
        postgres = PostgresSettings(host="127.0.0.1", port=hanging.port, sslmode="disable")
        look = _Look(postgres)
        registry = CollectorRegistry()
        registry.register(Figures(look.figures))
        with served(MetricsSettings(port=0), look.health, registry) as address:
            for _ in range(2):
                assert "fraudstream_database_up 0.0" in get(f"{address}/metrics")[1].splitlines()
                said = f"PostgreSQL at {postgres.address} has not answered for 0.5 s.\n"
                assert get(f"{address}/healthz") == (503, said)
                monkeypatch.setattr(health, "REMEMBERED_SECONDS", 0.0)
        wait_until(
            lambda: not any(thread.name == "look" for thread in threading.enumerate()),
            "end of what nobody waits for",
        )
