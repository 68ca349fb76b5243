"""Bringing the tables up to date: whoever starts first, however often, and whatever is there already."""

import multiprocessing
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from subprocess import CompletedProcess
from typing import Any

import alembic.command
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from pydantic import SecretStr

from fraudstream.errors import DatabaseError
from fraudstream.local.doctor import examine
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.store.connection import SCHEMA, connect
from fraudstream.store.migrate import current_revision, head_revision, migrate
from fraudstream.store.tables import metadata
from fraudstream.store.upgrade import config, sqlalchemy_connection
from hours import counted_hours, hourly
from profile_world import messages, store, transaction
from waiting import wait_until

Run = Callable[..., "CompletedProcess[str]"]


def test_the_migrated_database_has_the_tables_that_the_program_knows(settings: Settings) -> None:
    """Tables, columns, types, nulls, defaults, indexes and comments."""
    migrate(settings.postgres)
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "version_table_schema": SCHEMA,
        "include_schemas": True,
        "include_name": lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
    }
    with sqlalchemy_connection(settings.postgres) as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_migrating_twice_changes_nothing(settings: Settings) -> None:
    migrate(settings.postgres)
    with connect(settings.postgres) as connection:
        connection.execute("insert into shop.labels (transaction_id, is_fraud) values ('t', true)")
    migrate(settings.postgres)
    assert (
        current_revision(settings.postgres)
        == head_revision()
        == ScriptDirectory.from_config(config()).get_current_head()
    )
    with connect(settings.postgres) as connection:
        assert connection.execute("select count(*) from shop.labels").fetchone() == (1,)


def test_an_upgrade_counts_the_hours_of_what_is_stored_already(settings: Settings) -> None:
    """From the revision before the hours were kept, with rows in it; what is stored afterwards is added to them."""
    postgres, chance = settings.postgres, Random(4)
    migrate(postgres)
    tables = ("transactions", "fraud")
    # An amount beyond every currency, and the first and the last moment of an hour.
    odd: list[dict[str, Any]] = [
        {"amount": 1e300, "is_fraud": 1},
        {"timestamp": "2025-03-01T10:00:00Z", "is_fraud": 0},
        {"timestamp": "2025-03-01T10:59:59.999999Z", "is_fraud": 0},
        {"timestamp": "0001-01-01T00:00:00Z", "is_fraud": 0},
        {"timestamp": "9999-12-31T23:59:59Z", "is_fraud": 1},
    ]
    values = [transaction(f"t{n}", chance, **(odd[n] if n < len(odd) else {})) for n in range(200)]
    store(postgres, [messages(values)], tables)
    _alembic(postgres, alembic.command.downgrade, "0003")
    assert current_revision(postgres) == "0003"
    migrate(postgres)
    kept = {"transactions": "transactions", "fraud": "fraud_transactions"}
    assert hourly(postgres, *kept) == counted_hours(postgres, **kept)
    store(postgres, [messages([transaction(f"u{n}", chance) for n in range(200)], first=200)], tables)
    assert hourly(postgres, *kept) == counted_hours(postgres, **kept)
    assert sum(count for count, _ in hourly(postgres, *kept).values()) == 400


def _alembic(postgres: PostgresSettings, command: Callable[..., None], revision: str) -> None:
    with sqlalchemy_connection(postgres) as connection:
        command(config(connection), revision)
        connection.commit()


def test_two_processes_that_migrate_at_once_both_succeed(settings: Settings) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=migrate, args=(settings.postgres,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert current_revision(settings.postgres) == head_revision()


def test_readers_of_a_view_and_an_upgrade_do_not_wait_for_each_other(settings: Settings) -> None:
    """A reader locks a view and then its tables, a revision the other way round: PostgreSQL ended one of them."""
    postgres = settings.postgres
    migrate(postgres)
    _alembic(postgres, alembic.command.downgrade, "0004")
    with connect(postgres) as connection:
        connection.execute(
            "insert into shop.labels (transaction_id, is_fraud) select 't' || n, true from generate_series(1, 200000) as n"
        )
    stop = threading.Event()

    def read() -> int:
        times = 0
        while not stop.is_set():
            with connect(postgres) as connection:
                connection.execute("select count(verdict) from shop.alert_reviews")
            times += 1
        return times

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        try:
            migrate(postgres)
        finally:
            stop.set()
        assert all(reader.result() for reader in readers)
    assert current_revision(postgres) == head_revision()


def test_an_upgrade_says_whom_it_waits_for(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Everybody would wait behind it meanwhile: so it tries again and again, and lets the others in between."""
    postgres = settings.postgres
    migrate(postgres)
    _alembic(postgres, alembic.command.downgrade, "0012")
    with ThreadPoolExecutor(1) as pool, connect(postgres) as reader, connect(postgres) as other:
        reader.execute("set application_name = 'pg_dump'")
        reader.commit()
        reader.execute("select from shop.alerts")
        with caplog.at_level("INFO", logger="fraudstream"):
            upgrade = pool.submit(migrate, postgres)
            wait_until(lambda: "pg_dump (process" in caplog.text, "word about the reader")
        other.execute("set statement_timeout = '60s'")
        other.execute("select from shop.alerts")
        other.commit()
        assert not upgrade.done()
        reader.rollback()
        upgrade.result()
    assert current_revision(postgres) == head_revision()


def test_who_finds_the_tables_up_to_date_does_not_wait_for_what_makes_them(
    settings: Settings, environment: dict[str, str], run: Run
) -> None:
    """Half the time of `alerts list` was to load SQLAlchemy and Alembic, which had nothing to do."""
    migrate(settings.postgres)
    done = run("alerts", "list", env=environment | {"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0, done.stderr
    assert "fraudstream.store.migrate" in done.stderr
    assert "alembic" not in done.stderr
    assert "sqlalchemy" not in done.stderr


def test_a_database_of_a_newer_version_is_left_alone(settings: Settings) -> None:
    migrate(settings.postgres)
    with connect(settings.postgres) as connection:
        connection.execute("update shop.alembic_version set version_num = '9999'")
    with pytest.raises(DatabaseError, match="schema revision 9999, which this version") as caught:
        migrate(settings.postgres)
    assert "upgrade fraudstream" in caught.value.hint
    assert current_revision(settings.postgres) == "9999"


@contextmanager
def encoded(settings: Settings, encoding: str) -> Iterator[Settings]:
    """A database of this encoding, in the locale C, as an `initdb` in a bare container makes them."""
    name = f"{encoding.lower()}_{secrets.token_hex(4)}"
    make = "create database {} template template0 encoding {} locale_provider libc locale 'C'"
    with connect(settings.postgres, autocommit=True) as connection:
        _administer(connection, make, name, encoding)
        try:
            yield settings.model_copy(
                update={"postgres": settings.postgres.model_copy(update={"database": name})}
            )
        finally:
            _administer(connection, "drop database {} with (force)", name)


def test_a_database_that_was_made_without_a_language_takes_names_of_every_language(
    settings: Settings,
) -> None:
    with encoded(settings, "SQL_ASCII") as plain:
        migrate(plain.postgres)
        with connect(plain.postgres) as other:
            other.execute(
                "insert into shop.labels (transaction_id, is_fraud, note) values ('t', true, 'Żółć')"
            )
            assert other.execute("select note from shop.labels").fetchone() == ("Żółć",)


def test_a_database_that_lacks_characters_is_refused_before_the_first_table(settings: Settings) -> None:
    """The first emoji would stop the stream for good; `doctor` says the same."""
    with encoded(settings, "LATIN1") as latin:
        with pytest.raises(DatabaseError, match="encoding LATIN1") as caught:
            migrate(latin.postgres)
        assert "encoding 'UTF8'" in caught.value.hint
        (check,) = (check for check in examine(latin) if check.name == "postgres")
        assert not check.ok
        assert (check.detail, check.hint) == (caught.value.message, caught.value.hint)


def test_a_server_that_is_too_old_for_the_tables_is_refused_before_the_first_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an upgrade would end in the words of an operator class; no older server is at hand than the embedded one."""
    monkeypatch.setattr("fraudstream.store.migrate.OLDEST", 99)
    with pytest.raises(
        DatabaseError, match=r"The server is PostgreSQL \d+, but the tables need 99"
    ) as caught:
        migrate(settings.postgres)
    assert current_revision(settings.postgres) is None
    (check,) = (check for check in examine(settings) if check.name == "postgres")
    assert not check.ok
    assert (check.detail, check.hint) == (caught.value.message, caught.value.hint)


def test_a_user_without_the_right_to_make_tables_works_on_a_schema_that_is_up_to_date(
    settings: Settings,
) -> None:
    """And is told, in a sentence, where an owner has to bring it up to date first."""
    name, password = f"clerk_{secrets.token_hex(4)}", secrets.token_hex(8)
    clerk = settings.postgres.model_copy(
        update={"user": name, "password": SecretStr(password), "password_file": None}
    )
    with connect(settings.postgres, autocommit=True) as connection:
        _administer(connection, "create role {} login password {}", name, password)
        try:
            with pytest.raises(DatabaseError, match="permission denied") as caught:
                migrate(clerk)
            assert "let an owner run the command once" in caught.value.hint
            migrate(settings.postgres)
            _administer(connection, "grant usage on schema shop to {}", name)
            _administer(
                connection, "grant select, insert, update, delete on all tables in schema shop to {}", name
            )
            migrate(clerk)
            _label(clerk)
        finally:
            _administer(connection, "drop owned by {}", name)
            _administer(connection, "drop role {}", name)


def test_a_user_who_owns_the_schema_and_may_make_no_other_brings_it_up_to_date(settings: Settings) -> None:
    """As administrators give a service what it needs and no more."""
    name, password = f"clerk_{secrets.token_hex(4)}", secrets.token_hex(8)
    clerk = settings.postgres.model_copy(
        update={"user": name, "password": SecretStr(password), "password_file": None}
    )
    with connect(settings.postgres, autocommit=True) as connection:
        _administer(connection, "create role {} login password {}", name, password)
        try:
            _administer(connection, "create schema shop authorization {}", name)
            migrate(clerk)
            _label(clerk)
        finally:
            _administer(connection, "drop owned by {}", name)
            _administer(connection, "drop role {}", name)


def _administer(
    connection: psycopg.Connection[tuple[object, ...]], statement: str, role: str, *literals: str
) -> None:
    parts = [sql.Identifier(role), *map(sql.Literal, literals)]
    connection.execute(sql.SQL(statement).format(*parts))


def _label(postgres: PostgresSettings) -> None:
    with connect(postgres) as connection:
        connection.execute("insert into shop.labels (transaction_id, is_fraud) values ('t', true)")


def test_a_schema_that_others_use_already_is_left_alone(settings: Settings) -> None:
    """Its name is a common one; a backup of the schema that is restored would take their tables back with ours."""
    with connect(settings.postgres) as connection:
        connection.execute("create schema shop")
        connection.execute("create table shop.orders (id integer)")
    with pytest.raises(DatabaseError, match="has tables that are not fraudstream's: orders") as caught:
        migrate(settings.postgres)
    assert "FRAUDSTREAM_POSTGRES__DATABASE" in caught.value.hint
    (check,) = (check for check in examine(settings) if check.name == "schema")
    assert (check.ok, check.detail, check.hint) == (False, caught.value.message, caught.value.hint)
    with connect(settings.postgres) as connection:
        found = connection.execute("select relname from pg_class where relnamespace = 'shop'::regnamespace")
        assert found.fetchall() == [("orders",)]


def test_tables_are_made_again_where_a_downgrade_took_them_all(settings: Settings) -> None:
    """It leaves the table of versions, which is empty then."""
    migrate(settings.postgres)
    _alembic(settings.postgres, alembic.command.downgrade, "base")
    assert current_revision(settings.postgres) is None
    migrate(settings.postgres)
    _label(settings.postgres)
