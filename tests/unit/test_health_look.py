"""What `health --metrics-port` says of a PostgreSQL that says nothing."""

import socket
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from fraudstream.cli.health import _Look
from fraudstream.metrics import Figures, served
from fraudstream.settings import MetricsSettings, PostgresSettings
from http_get import get


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
