"""What PostgreSQL ends by a limit, and what an administrator ends by hand."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from psycopg import sql

from fraudstream.cli.health import _Look
from fraudstream.errors import DatabaseError, DatabaseUnreachable
from fraudstream.kafka import Messages
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.store import held, label_folding
from fraudstream.store.connection import Cursor, connect
from fraudstream.store.label_folding import fold_known
from fraudstream.store.migrate import migrate
from fraudstream.store.profiles import merge
from fraudstream.store.slices import Outcome, store_slice
from fraudstream.store.targets import select
from rows import query
from samples import message
from slice_world import SOURCE
from waiting import wait_until

if TYPE_CHECKING:
    import pyarrow as pa


@pytest.fixture
def postgres(settings: Settings) -> Iterator[PostgresSettings]:
    migrate(settings.postgres)
    held.close(settings.postgres)
    yield settings.postgres
    held.close(settings.postgres)


def limit(postgres: PostgresSettings, name: str, value: str) -> None:
    """Of this test's own database: the role is everybody's."""
    with connect(postgres, autocommit=True) as connection:
        database = sql.Identifier(postgres.database)
        connection.execute(
            sql.SQL("alter database {} set {} = {}").format(database, sql.Identifier(name), value)
        )


def batch(name: str, offset: int) -> Messages:
    return Messages([offset], [b"key"], [message(transaction_id=name)])


def store(postgres: PostgresSettings, batches: Iterator[Messages]) -> Outcome:
    return store_slice(postgres, SOURCE, select(["transactions"]), {}, batches)


def test_a_locked_table_is_said_and_holds_up_nobody_who_asks_for_health(postgres: PostgresSettings) -> None:
    """`health` and each scrape waited for whoever held it."""
    look = _Look(postgres)
    with connect(postgres) as holder:
        holder.execute("lock table shop.alerts")
        health = look.health()
    assert not health.ok
    assert "took too long" in health.sentence


def test_a_transaction_that_a_pause_of_kafka_let_time_out_is_done_again(postgres: PostgresSettings) -> None:
    """The session's end was taken for a refusal, and ended the stream for good."""
    limit(postgres, "idle_in_transaction_session_timeout", "100ms")

    def paused() -> Iterator[Messages]:
        yield batch("a", 0)
        time.sleep(1)  # as long as the broker says nothing
        yield batch("b", 1)

    with pytest.raises(DatabaseUnreachable, match="waited for Kafka") as caught:
        store(postgres, paused())
    assert "idle_in_transaction_session_timeout" in caught.value.hint
    assert store(postgres, iter([batch("a", 0), batch("b", 1)])).stored["transactions"] == 2


def test_a_statement_that_an_administrator_cancelled_is_done_again(postgres: PostgresSettings) -> None:
    def cancelled() -> Iterator[Messages]:
        yield batch("a", 0)
        held.connection(postgres).execute("select pg_cancel_backend(pg_backend_pid()), pg_sleep(60)")

    with pytest.raises(DatabaseUnreachable, match="cancelled") as caught:
        store(postgres, cancelled())
    assert "pg_cancel_backend" in caught.value.hint
    assert store(postgres, iter([batch("a", 0)])).stored["transactions"] == 1


def test_labels_whose_folding_an_administrator_cancelled_are_folded_later(
    postgres: PostgresSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended `consume`, which resumes after any other statement that is cancelled."""
    store(postgres, iter([batch("a", 0)]))

    def cancelled(cursor: Cursor, folded: "pa.Table") -> None:
        merge(cursor, folded)
        cursor.execute("select pg_cancel_backend(pg_backend_pid()), pg_sleep(60)")

    now, delay = datetime.now(UTC), timedelta(days=7)
    with monkeypatch.context() as patch:
        patch.setattr(label_folding, "merge", cancelled)
        with pytest.raises(DatabaseUnreachable, match="cancelled") as caught:
            fold_known(postgres, now, delay)
    assert "pg_cancel_backend" in caught.value.hint
    assert fold_known(postgres, now, delay).truths == 1


def test_labels_whose_folding_takes_longer_than_the_database_allows_are_a_reason_to_end(
    postgres: PostgresSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try would take as long."""
    store(postgres, iter([batch("a", 0)]))
    limit(postgres, "statement_timeout", "300ms")
    monkeypatch.setattr(label_folding, "merge", lambda cursor, _: cursor.execute("select pg_sleep(60)"))
    with pytest.raises(DatabaseError, match="statement timeout") as caught:
        fold_known(postgres, datetime.now(UTC), timedelta(days=7))
    assert type(caught.value) is DatabaseError


def test_a_session_that_an_administrator_ended_is_done_again_and_nobody_is_told_to_start_the_server(
    postgres: PostgresSettings,
) -> None:
    def ended() -> Iterator[Messages]:
        yield batch("a", 0)
        held.connection(postgres).execute("select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(DatabaseUnreachable, match=r"ended a session: .*administrator") as caught:
        store(postgres, ended())
    assert "pg_terminate_backend" in caught.value.hint
    assert store(postgres, iter([batch("a", 0)])).stored["transactions"] == 1


def test_a_deadlock_is_said_as_what_it_is(postgres: PostgresSettings) -> None:
    mode = "lock table shop.{} in exclusive mode"
    waiting = "select from pg_locks where relation = 'shop.labels'::regclass and not granted"
    with ThreadPoolExecutor(1) as pool, connect(postgres) as other:

        def deadlocked() -> Iterator[Messages]:
            mine = held.connection(postgres)
            mine.execute(mode.format("labels").encode())
            pool.submit(other.execute, mode.format("labels").encode())
            wait_until(lambda: bool(query(postgres, waiting)), "the other session to wait for ours")
            mine.execute(mode.format("alerts").encode())
            yield batch("a", 0)

        other.execute("set local deadlock_timeout = '1min'")  # so that it wins
        other.execute(mode.format("alerts").encode())
        with pytest.raises(DatabaseUnreachable, match="ended a transaction: deadlock detected") as caught:
            store(postgres, deadlocked())
    assert "The server is up" in caught.value.hint
    assert store(postgres, iter([batch("a", 0)])).stored["transactions"] == 1
