"""Which words about a login are final, where no server is at hand to say them."""

import re
from pathlib import Path

import psycopg
import pytest

from false_postgres import CLEARTEXT, false_postgres
from fraudstream.errors import DatabaseError, DatabaseUnreachable
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connect, translated

POSTGRES = PostgresSettings(host="db.example")
SAID = 'connection failed: connection to server at "10.0.0.7", port 5432 failed: '


def told(words: str) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught, translated(POSTGRES):
        raise psycopg.OperationalError(SAID + words)
    return caught.value


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ('FATAL:  pg_hba.conf rejects connection for host "10.0.0.9", user "u", database "d"', "pg_hba.conf"),
        ("FATAL:  unsupported startup parameter: options", "pooler"),
        ("FATAL:  unsupported startup parameter in options: extra_float_digits", "pooler"),
        ('FATAL:  unrecognized configuration parameter "tcp_user_timeout"', "PostgreSQL 14"),
    ],
)
def test_a_refusal_that_stays_is_not_waited_for(words: str, hint: str) -> None:
    error = told(words)
    assert type(error) is DatabaseError
    assert hint in error.hint


@pytest.mark.parametrize(
    "words",
    [
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is not yet accepting connections",
        "FATAL:  das Datenbanksystem startet",
        "ВАЖНО:  система баз данных запускается",
        "FATAL:  server login has been failing, try again later (server_login_retry)",
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
    ],
)
def test_a_server_that_takes_nobody_now_is_waited_for_whatever_language_it_speaks(words: str) -> None:
    error = told(words)
    assert isinstance(error, DatabaseUnreachable)
    assert "refused the connection" in error.message
    assert "fraudstream up" not in error.hint


@pytest.mark.parametrize(
    ("given_up", "brief"),
    [
        (psycopg.errors.LockNotAvailable, False),
        (psycopg.errors.LockNotAvailable, True),
        (psycopg.errors.QueryCanceled, True),
    ],
)
def test_a_statement_that_took_too_long_is_worth_another_try_and_no_server_that_is_to_be_started(
    given_up: type[psycopg.Error], brief: bool
) -> None:
    """Somebody holds a lock, or the server is overloaded: both pass."""
    said = "took too long: canceling statement"
    with pytest.raises(DatabaseUnreachable, match=said) as caught, translated(POSTGRES, brief=brief):
        raise given_up("canceling statement due to lock timeout")
    assert "pg_stat_activity" in caught.value.hint


@pytest.mark.parametrize(
    ("ended", "said", "hint"),
    [
        (psycopg.errors.DeadlockDetected, "ended a transaction: deadlock detected", "The server is up"),
        (
            psycopg.errors.SerializationFailure,
            "ended a transaction: could not serialize access",
            "The server is up",
        ),
        (psycopg.errors.AdminShutdown, "ended a session: terminating connection", "pg_terminate_backend"),
        (psycopg.errors.TooManyConnections, "has no free connection: too many clients", "max_connections"),
    ],
)
def test_a_server_that_ended_our_work_and_is_up_is_not_said_to_be_silent(
    ended: type[psycopg.Error], said: str, hint: str
) -> None:
    """Whoever read of a deadlock that PostgreSQL does not answer and is to be started looked in the wrong place."""
    with pytest.raises(DatabaseUnreachable) as caught, translated(POSTGRES):
        raise ended(said.partition(": ")[2])
    assert caught.value.message == f"PostgreSQL at db.example:5432/fraudstream {said}."
    assert hint in caught.value.hint
    assert "Nothing is lost" in caught.value.hint


def test_a_stopped_server_is_not_said_to_be_up() -> None:
    """A stop sends every session the same words as somebody who ends a single one."""
    with pytest.raises(DatabaseUnreachable) as caught, translated(POSTGRES):
        raise psycopg.errors.AdminShutdown("terminating connection due to administrator command")
    assert "is up" not in caught.value.hint
    assert "start it again" in caught.value.hint


def _with_password(file: Path) -> PostgresSettings:
    """Settings as a driver sends them to its executors; nobody has connected with them."""
    file.write_text("secret")
    return PostgresSettings(host="127.0.0.1", port=9, password_file=file)


def test_a_password_file_that_this_machine_lacks_is_not_waited_for(tmp_path: Path) -> None:
    """As on the machines of a cluster's executors, where nobody would hear for minutes why nothing happens."""
    missing = _with_password(tmp_path / "password")
    (tmp_path / "password").unlink()
    with pytest.raises(DatabaseError, match=r"on this machine \(executors read the file, too\)") as caught:
        connect(missing)
    assert type(caught.value) is DatabaseError


def test_a_password_file_that_is_empty_or_was_there_before_is_waited_for(tmp_path: Path) -> None:
    """It is being replaced."""
    file = tmp_path / "password"
    postgres = _with_password(file)
    file.write_text("")
    with pytest.raises(DatabaseUnreachable, match="is empty"):
        connect(postgres)
    file.write_text("secret")
    with pytest.raises(DatabaseUnreachable, match="does not answer"):
        connect(postgres)
    file.unlink()
    with pytest.raises(DatabaseUnreachable, match="cannot be read"):
        connect(postgres)


def test_the_shells_variables_for_psql_change_neither_the_session_nor_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For libpq they come before what the program asks for: hours were cut elsewhere, and another server was asked."""
    for name, value in {"PGTZ": "Asia/Kolkata", "PGDATESTYLE": "German", "PGGEQO": "off"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.2")
    monkeypatch.setenv("PGSERVICE", "gone")
    with false_postgres(CLEARTEXT) as false, pytest.raises(DatabaseError):
        connect(PostgresSettings(host="127.0.0.1", port=false.port))
    assert b"timezone=UTC" in false.heard
    assert not re.search(rb"Asia/Kolkata|German|geqo", false.heard)


def test_a_server_that_is_not_there_is_to_be_started() -> None:
    error = told("Connection refused\n\tIs the server running on that host?")
    assert isinstance(error, DatabaseUnreachable)
    assert "fraudstream up" in error.hint


def test_certificates_of_the_system_want_the_strict_mode() -> None:
    """Which libpq says before it connects anywhere."""
    with pytest.raises(DatabaseError, match="weak sslmode") as caught, translated(POSTGRES):
        psycopg.connect("host=127.0.0.1 port=1 sslmode=prefer sslrootcert=system")
    assert type(caught.value) is DatabaseError
    assert "verify-full" in caught.value.hint
