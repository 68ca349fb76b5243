"""Connections to PostgreSQL, and its errors as ours."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from pydantic import SecretStr

from fraudstream.errors import DatabaseError, DatabaseUnreachable, InputError, SettingsError
from fraudstream.settings import PostgresSettings

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]

READ_ONLY = "25006"
"""SQLSTATE of a write to a read-only server or session."""

LOCKED = "55P03"
"""SQLSTATE of a statement that waited too long for a lock."""
CANCELLED = "57014"
"""SQLSTATE of a statement that exceeded its time limit, or that somebody cancelled."""

IDLE = "25P03"
"""SQLSTATE of a transaction that was idle for too long, for example while a broker pauses."""
OVERLONG = "25P04"
"""SQLSTATE of a transaction that exceeded its time limit (PostgreSQL 17): the next one would, too."""

RETRYABLE = (
    "08",  # connection exceptions
    "57P",  # the server is shutting down, crashed, or not up yet
    "40",  # serialisation failure, deadlock: the other transaction won, and is done by now
    "53300",  # too many connections
    LOCKED,
    IDLE,
    READ_ONLY,  # a standby: after a failover the host name points at it until it is promoted
)
"""SQLSTATE prefixes after which the same transaction is worth a retry."""


UNPROVEN = "authentication method requirement"
"""libpq's message for a server that accepts us, or requests the password, without SCRAM while `require_auth` is set."""
REFUSED_BY_POOLER = "unsupported startup parameter"
FINAL = (
    "authentication failed",
    "does not exist",
    "no password supplied",
    "certificate",
    "does not support SSL",
    "no pg_hba.conf entry",
    "pg_hba.conf rejects",
    "is not permitted to log in",
    "permission denied for database",
    REFUSED_BY_POOLER,
    "unrecognized configuration parameter",
    "weak sslmode",
    UNPROVEN,
)
"""Messages of permanently rejected logins, which have no SQLSTATE.

All other messages count as temporary: the network, or a server or a pooler that is starting, is full or uses another
language. A list of those would never be complete, and any omission would end a running stream.
"""
_SERVER_SPEAKS = re.compile(r"failed: [^\s:]+:  ")
"""A server's message about a login starts with the severity, in its language, and two spaces; libpq's own with one."""


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
            if REFUSED_BY_POOLER not in str(error):
                raise
            connection = _connect(postgres, SESSION, autocommit=autocommit)
        # A snapshot from before a lock was granted would miss what the previous holder wrote.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        return connection


def _connect(postgres: PostgresSettings, session: Mapping[str, str], *, autocommit: bool) -> Connection:
    secret = _secret(postgres)
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
        raise _ours(postgres, error, brief) from None
    except sa.exc.DBAPIError as error:
        cause = error.orig
        raise (_ours(postgres, cause, brief) if isinstance(cause, psycopg.Error) else error) from None
    except UnicodeEncodeError as error:
        raise InputError(
            f"{error.object!r} is not valid UTF-8.", hint="Type it again, or set the terminal to UTF-8."
        ) from None


def _ours(postgres: PostgresSettings, error: psycopg.Error, brief: bool) -> DatabaseError:
    detail = (" ".join(str(error).split()) or type(error).__name__).rstrip(".") + "."
    where = postgres.address
    if error.sqlstate == READ_ONLY:
        return DatabaseUnreachable(
            f"PostgreSQL at {where} is read-only: {detail}",
            hint="This server is a standby, or was made read-only: see FRAUDSTREAM_POSTGRES__HOST for the primary.",
        )
    if error.sqlstate == LOCKED or (brief and error.sqlstate == CANCELLED):
        return DatabaseUnreachable(
            f"PostgreSQL at {where} took too long: {detail}",
            hint="Another session holds a lock, or the server is overloaded: `select * from pg_stat_activity` shows which.",
        )
    if error.sqlstate == IDLE:
        return DatabaseUnreachable(
            f"PostgreSQL at {where} ended a transaction that waited for Kafka: {detail}",
            hint="Raise idle_in_transaction_session_timeout of this role or database above the length of Kafka's pauses.",
        )
    if is_retryable(error) and _SERVER_SPEAKS.search(str(error)):
        return DatabaseUnreachable(
            f"PostgreSQL at {where} refused the connection: {detail}",
            hint="The server is up and gives the reason: it is starting or stopping, has no free connections, or rejects this login.",
        )
    if is_retryable(error):
        return DatabaseUnreachable(
            f"PostgreSQL at {where} does not answer: {detail}",
            hint="Start the embedded one with `fraudstream up`, or check FRAUDSTREAM_POSTGRES__HOST and __PORT.",
        )
    unproven = UNPROVEN in str(error)
    said = (
        f"The server at {where} did not prove that it knows the password"
        if unproven
        else f"PostgreSQL at {where} refused"
    )
    return DatabaseError(f"{said}: {detail}", hint=_hint(error))


def is_retryable(error: psycopg.Error) -> bool:
    """Whether the same transaction may succeed if it is tried again."""
    if error.sqlstate is not None:
        return error.sqlstate.startswith(RETRYABLE)
    # Without SQLSTATE the error is libpq's own: a rejected login is final, everything else is the network.
    return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) and not any(
        word in str(error) for word in FINAL
    )


def by_hand(connection: Connection) -> bool:
    """Whether a cancelled statement on this connection was cancelled by somebody, as no time limit is set.

    PostgreSQL distinguishes the two only in its message, in the server's language.
    """
    try:
        return connection.execute("show statement_timeout").fetchone() == ("0",)
    except psycopg.Error:
        return False


_HINTS = {
    UNPROVEN: "Another program may have the port of the embedded PostgreSQL: run `fraudstream up`. If the server is your"
    " own and does not use SCRAM, unset FRAUDSTREAM_POSTGRES__REQUIRE_AUTH.",
    "require_auth": "libpq 16 or newer is needed: `pip install 'psycopg[binary]'`, and unset PSYCOPG_IMPL.",
    "authentication failed": "Check FRAUDSTREAM_POSTGRES__USER and __PASSWORD (or __PASSWORD_FILE).",
    "no password": "Check FRAUDSTREAM_POSTGRES__USER and __PASSWORD (or __PASSWORD_FILE).",
    "not permitted to log in": "This role cannot log in: `create role NAME login password '…' in role …`.",
    "permission denied for database": "Ask an owner to grant it: `grant connect on database … to …`.",
    REFUSED_BY_POOLER: "The pooler rejects our session settings: use PgBouncer 1.20 or newer, or connect to PostgreSQL directly.",
    "unrecognized configuration parameter": "PostgreSQL 14 or newer is needed.",
    "weak sslmode": "Set FRAUDSTREAM_POSTGRES__SSLMODE=verify-full, which the system's certificates require.",
    "does not match host name": "Use the name that the certificate is for in FRAUDSTREAM_POSTGRES__HOST.",
    "certificate": "Check FRAUDSTREAM_POSTGRES__SSLMODE and __SSLROOTCERT.",
    "SSL": "Check FRAUDSTREAM_POSTGRES__SSLMODE and __SSLROOTCERT.",
    "no encryption": "Check FRAUDSTREAM_POSTGRES__SSLMODE: this server requires TLS.",
    "pg_hba.conf": "Allow this user, database and address in the server's pg_hba.conf.",
    "does not exist": "Create the database, or check FRAUDSTREAM_POSTGRES__DATABASE.",
}
"""Hints for libpq's messages about logins; the first match counts."""


def _hint(error: psycopg.Error) -> str:
    state = error.sqlstate or ""
    if state in ("", "3D000"):
        for words, hint in _HINTS.items():
            if words in str(error):
                return hint
    if state == "42501":
        return "Grant the right to this user, or let an owner run the command once to bring the tables up to date."
    if state in (CANCELLED, OVERLONG):
        return "This role's or database's statement_timeout or transaction_timeout ended it, or somebody cancelled it."
    if state == "22P05":
        return "The database's encoding lacks a character: move the data to one with the encoding UTF8."
    if state.startswith("53"):
        return (
            "The server is out of disk or memory: make room, then start the command again; nothing was lost."
        )
    return "See the server's own log."


def engine(postgres: PostgresSettings) -> sa.Engine:
    """A SQLAlchemy engine over `connect`, without a pool, as commands are short."""
    return sa.create_engine(
        "postgresql+psycopg://", creator=lambda: connect(postgres), poolclass=sa.pool.NullPool
    )
