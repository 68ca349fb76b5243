"""What `health --metrics-port` says while a session of PostgreSQL hangs, and when it can be asked again."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry

from fraudstream.cli import health
from fraudstream.metrics import Figures, served
from fraudstream.settings import MetricsSettings, PostgresSettings
from fraudstream.store.connection import connect
from http_get import get
from waiting import wait_until

WAITING = """
select pid from pg_catalog.pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock' and pid <> pg_backend_pid()"""


def test_a_session_that_hangs_makes_the_database_down_until_another_one_answers(
    postgres: PostgresSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its backend is stopped in the middle of a question, so that none of its own timeouts comes."""
    monkeypatch.setattr(health, "ANSWER_SECONDS", 3.0)
    look, registry = health._Look(postgres), CollectorRegistry()
    registry.register(Figures(look.figures))
    stopped: list[int] = []
    with served(MetricsSettings(port=0), look.health, registry) as address, ThreadPoolExecutor(1) as pool:

        def up() -> bool:
            return "fraudstream_database_up 1.0" in get(f"{address}/metrics")[1].splitlines()

        try:
            with connect(postgres) as owner, connect(postgres, autocommit=True) as watch:
                owner.execute("lock table shop.labels in access exclusive mode")
                asked = pool.submit(get, f"{address}/healthz")
                wait_until(lambda: bool(watch.execute(WAITING).fetchall()), "question that waits")
                stopped += [pid for (pid,) in watch.execute(WAITING).fetchall()]
                for pid in stopped:
                    os.kill(pid, signal.SIGSTOP)
            status, sentence = asked.result(25)
            assert (status, sentence) == (
                503,
                f"PostgreSQL at {postgres.address} has not answered for 3 s.\n",
            )
            assert not up()
            wait_until(up, "answer of another session")
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
