"""A table that another session holds, as a migration or a careless `lock table` does: streams hear a stop all the same."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from fraudstream import kafka
from fraudstream.settings import Settings
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate
from live_scorer import kill, promote, scorer
from waiting import wait_until

STOP_SECONDS = 30
"""What the pages ask supervisors to allow before a kill."""


@contextlib.contextmanager
def held(settings: Settings) -> Iterator[None]:
    """Another session has `shop.stream_progress` for itself, and somebody waits for it."""
    with connect(settings.postgres) as holder, connect(settings.postgres, autocommit=True) as watcher:
        holder.execute("lock table shop.stream_progress")
        waiting = "select from pg_locks where not granted and relation = 'shop.stream_progress'::regclass"
        wait_until(lambda: bool(watcher.execute(waiting).fetchall()), "stream that waits for the lock")
        yield


def ended(process: "psutil.Popen") -> int:
    """Its exit code after SIGTERM."""
    process.send_signal(signal.SIGTERM)
    return int(process.wait(STOP_SECONDS))


def test_a_locked_table_does_not_keep_a_consumer_from_stopping(
    settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    migrate(settings.postgres)
    with log.open("ab") as output:
        command = [sys.executable, "-m", "fraudstream", "consume", "transactions"]
        process = psutil.Popen(command, env=environment, cwd=tmp_path, stdout=output, stderr=output)
    try:
        wait_until(lambda: "reading" in log.read_text(), "start", log)
        with held(settings):
            assert ended(process) == 130
    finally:
        kill(process)
    assert "This is a defect" not in log.read_text()


def test_a_locked_table_does_not_keep_a_scorer_from_stopping(
    settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    migrate(settings.postgres)
    promote(settings.postgres, "first")
    kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 1)
    with scorer(environment, log) as process, held(settings):
        assert ended(process) == 130
    assert "the next start answers some messages again" in log.read_text()
