"""Connections to PostgreSQL, whose errors become ours."""

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from pydantic import SecretStr

from fraudstream.errors import DatabaseError, DatabaseUnreachable, InputError, SettingsError
from fraudstream.settings import PostgresSettings
from fraudstream.store import failures, libpq

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]

SCHEMA = "shop"
"""The schema of all our tables."""
SESSION = {"timezone": "UTC", "datestyle": "ISO", "intervalstyle": "postgres"}
"""Settings of a session, whatever the defaults of its database, role or server: the program parses values in these formats."""


BRIEF = "set local lock_timeout = '3s'; set local statement_timeout = '10s'"
"""Timeouts for the bookkeeping of a stream's driver, so that a foreign lock cannot delay shutdown."""


PEER: Mapping[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 60_000,
}
"""Both sides notice within a minute that the other one vanished silently (a cut cable, a machine that lost power).

Keepalives run only on idle connections, and take two hours by default; data that is not acknowledged is retransmitted
for a quarter of an hour, unless `tcp_user_timeout` (milliseconds) ends that. Until the server notices, the transaction
of a lost executor keeps its locks. Not shorter: it also limits how long the other side may leave a full buffer unread,
and a COPY may wait that long for a row that another transaction has locked. Unix sockets ignore all of this.
"""
SERVER = {"extra_float_digits": "1", "search_path": "pg_catalog"} | {
    f"tcp_{name.removeprefix('tcp_')}": str(n) for name, n in PEER.items()
}
"""Further settings, for direct connections only: a pooler does not know them, and has sockets of its own.

Every table is named with its schema. Functions are not: if others may create some in a schema on the search path, such
as `public` before PostgreSQL 15, a better match of theirs would run with our rights (CVE-2018-1058).
"""


_READ: set[Path] = set()
"""Password files that this process has read: if one of them is missing now, it is being replaced."""

_OPEN: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()
"""With the thread that opened each."""
_OPENING = threading.Lock()


def connect(postgres: PostgresSettings, *, autocommit: bool = False) -> Connection:
    """A connection in UTC. Raises SettingsError, DatabaseUnreachable, DatabaseError."""
    if postgres.host is None:
        raise SettingsError(
            "No PostgreSQL is set, and the embedded one is not running.",
            hint="Start it with `fraudstream up`, or set FRAUDSTREAM_POSTGRES__HOST.",
        )
    with translated(postgres):
        try:
            connection = _connect(postgres, SESSION | SERVER, autocommit=autocommit)
        except psycopg.OperationalError as error:
            if failures.REFUSED_BY_POOLER not in str(error):
                raise
            connection = _connect(postgres, SESSION, autocommit=autocommit)
        # A snapshot from before a lock was granted would miss what the previous holder wrote.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        with _OPENING:
            _OPEN[connection] = threading.get_ident()
        return connection


def abandon(thread: int | None = None) -> None:
    """End this process's connections, or those that this thread opened, from this side: whoever waits gets an error at once.

    Timeouts are the server's to keep, and the kernel goes on to acknowledge our packets for a server that hangs, as on a
    disk that stalls. What was not committed is rolled back, as for a client that died.
    """
    with _OPENING:
        left = [found for found, opener in _OPEN.items() if thread in (None, opener)]
    for connection in left:
        # A connection that its thread closes at this moment needs no end.
        with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)


def _connect(postgres: PostgresSettings, session: Mapping[str, str], *, autocommit: bool) -> Connection:
    secret = _secret(postgres)
    libpq.leave_the_shell_out()
    return psycopg.connect(
        host=postgres.host,
        port=postgres.port,
        user=postgres.user,
        password=secret.get_secret_value() if secret else None,
        dbname=postgres.database,
        sslmode=postgres.sslmode.value,
        sslrootcert=str(postgres.sslrootcert) if postgres.sslrootcert else None,
        require_auth=postgres.require_auth,
        connect_timeout=postgres.connect_timeout_seconds,
        **PEER,
        application_name="fraudstream",
        # A database without an encoding would otherwise return bytes where we expect strings.
        client_encoding="utf8",
        options=" ".join(f"-c {name}={value}" for name, value in session.items()),
        autocommit=autocommit,
        # Behind a pooler the next transaction may have another backend, which lacks the statements prepared on this one.
        prepare_threshold=None,
    )


def _secret(postgres: PostgresSettings) -> SecretStr | None:
    """The current password. Raises DatabaseUnreachable while its file is being replaced, DatabaseError if there is none."""
    file, said = postgres.password_file, f"Cannot log in to PostgreSQL at {postgres.address}"
    hint = "Check FRAUDSTREAM_POSTGRES__PASSWORD_FILE."
    try:
        secret = postgres.secret()
    except ValueError as error:
        if file is not None and file not in _READ and not os.access(file, os.R_OK):
            # All of it in the message: nothing else of a task's error reaches the driver.
            where = "on this machine (executors read the file, too)"
            raise DatabaseError(f"{said}: {error} {where}.", hint=hint) from None
        raise DatabaseUnreachable(f"{said}: {error}.", hint=hint) from None
    if file is not None:
        _READ.add(file)
    return secret


@contextmanager
def connected(
    postgres: PostgresSettings, *, autocommit: bool = False, snapshot: bool = False, brief: bool = False
) -> Iterator[Connection]:
    """A connection whose transaction is committed at the end. Raises DatabaseError for any error in it.

    With `snapshot` all queries see the same snapshot, and none may write. With `brief` each is limited to seconds.
    """
    with translated(postgres, brief=brief), connect(postgres, autocommit=autocommit) as connection:
        if snapshot:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
        if brief:
            connection.execute(BRIEF)
        yield connection


@contextmanager
def translated(postgres: PostgresSettings, *, brief: bool = False) -> Iterator[None]:
    """Translate errors of psycopg into ours, which distinguish lost connections from refusals and omit the password.

    A string that is not UTF-8 can only come from a command line, and was not sent: InputError.

    A statement that took too long is worth a retry only if `brief` set the limit: a limit of the role or the database
    would end it again.
    """
    try:
        yield
    except psycopg.Error as error:
        raise failures.ours(postgres, error, brief=brief) from None
    except UnicodeEncodeError as error:
        raise InputError(
            f"{error.object!r} is not valid UTF-8.", hint="Type it again, or set the terminal to UTF-8."
        ) from None
