"""Connections to PostgreSQL, and its errors in our words."""

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
"""SQLSTATE of a write that met a server or a session which takes none."""

LOCKED = "55P03"
"""SQLSTATE of a statement that waited too long for a lock."""
CANCELLED = "57014"
"""SQLSTATE of a statement that took longer than it may, or that somebody cancelled."""

IDLE = "25P03"
"""SQLSTATE of a session whose transaction waited too long for its next statement, as while a broker pauses."""
OVERLONG = "25P04"
"""SQLSTATE of a transaction that took longer than it may (PostgreSQL 17): the next one would, too."""

RETRYABLE = (
    "08",  # connection exceptions
    "57P",  # the server is shutting down, crashed, or not up yet
    "40",  # serialisation failure, deadlock: the other one won, and is done now
    "53300",  # too many connections
    LOCKED,
    IDLE,
    READ_ONLY,  # a standby: after a failover the name points at it until it is promoted
)
"""SQLSTATE prefixes after which the same transaction is worth another try."""


UNPROVEN = "authentication method requirement"
"""What libpq says of a server that lets us in, or wants the password, without SCRAM while `require_auth` is set."""
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
"""What is said of a login that was refused for good, which has no SQLSTATE.

Other words are of the network, or of a server or a pooler before it that takes nobody now: it starts, it is full, it
speaks another language. A list of these would never be whole, and what is missing in it would end a running stream.
"""
_SERVER_SPEAKS = re.compile(r"failed: [^\s:]+:  ")
"""Before what a server says of a login stands its severity, in its language, with two spaces; libpq's own words have one."""


SESSION = {"timezone": "UTC", "datestyle": "ISO", "intervalstyle": "postgres"}
"""What a session has whatever its database, role or server defaults to: the program reads values in these forms."""


BRIEF = "set local lock_timeout = '3s'; set local statement_timeout = '10s'"
"""For what a stream's driver writes down beside its work: it must hear a stop, whoever holds a lock on the table."""


PEER: Mapping[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 60_000,
}
"""Both sides notice within a minute that the other one vanished without a word (a cut cable, a machine that lost power).

Keepalives run only while nothing is under way, and take two hours as systems have them; what was sent and not received
is sent again for a quarter of an hour, unless `tcp_user_timeout` (milliseconds) ends that. Until the server notices, the
transaction of a lost executor keeps its locks. Not shorter: it also bounds how long the other side may leave a full
buffer unread, and a COPY may wait that long for a row that another one holds. Sockets of one machine have none of it.
"""
SERVER = {"extra_float_digits": "1", "search_path": "pg_catalog"} | {
    f"tcp_{name.removeprefix('tcp_')}": str(n) for name, n in PEER.items()
}
"""What a session asks of the server besides. A pooler before it knows nothing of these, and has sockets of its own.

Every table is named with its schema. Functions are not: where others may create some in a schema that is searched, as
in `public` before PostgreSQL 15, a better match of theirs would run with our rights (CVE-2018-1058).
"""


_READ: set[Path] = set()
"""Password files that this process has read: one of them that is missing now will be there again."""


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
        # A snapshot that is older than the lock waited for would miss what the one who held it wrote.
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
        # A database that was made without an encoding would answer with bytes where we expect text.
        client_encoding="utf8",
        options=" ".join(f"-c {name}={value}" for name, value in session.items()),
        autocommit=autocommit,
        # A pooler has another backend for the next transaction, which does not know what was prepared in this one.
        prepare_threshold=None,
    )


def _secret(postgres: PostgresSettings) -> SecretStr | None:
    """The password of now. Raises DatabaseUnreachable where its file is being replaced, DatabaseError where there is none."""
    file, said = postgres.password_file, f"Cannot log in to PostgreSQL at {postgres.address}"
    hint = "Check FRAUDSTREAM_POSTGRES__PASSWORD_FILE."
    try:
        secret = postgres.secret()
    except ValueError as error:
        if file is not None and file not in _READ and not os.access(file, os.R_OK):
            # In full in the message: of what a task raises, nothing else reaches the driver.
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
    """A connection whose transaction is committed at the end. Raises DatabaseError for all that goes wrong in it.

    With `snapshot` every query in it sees one moment, and none may write. With `brief` none takes longer than seconds.
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
    """Errors of psycopg as ours: lost connections apart from refusals. The password is in neither.

    A string that is not UTF-8 can only come from a command line, and was sent nowhere: InputError.

    A statement that took too long is worth another try where the limit is our own, as it is of what is `brief`: one
    of the role or the database would end it again.
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
            hint="Another session holds a lock, or the server is overloaded: `select * from pg_stat_activity` says which.",
        )
    if error.sqlstate == IDLE:
        return DatabaseUnreachable(
            f"PostgreSQL at {where} ended a transaction that waited for Kafka: {detail}",
            hint="Raise this role's or database's idle_in_transaction_session_timeout above the pauses that Kafka makes.",
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
    # No SQLSTATE: libpq itself speaks. A refused login is final, everything else is the network.
    return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) and not any(
        word in str(error) for word in FINAL
    )


def by_hand(connection: Connection) -> bool:
    """Whether what was cancelled on this connection was cancelled by somebody: no time limit of its own can have done it.

    PostgreSQL says which in words alone, in the server's language.
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
    "weak sslmode": "Set FRAUDSTREAM_POSTGRES__SSLMODE=verify-full, as the system's certificates are to be trusted.",
    "does not match host name": "Use the name that the certificate is for in FRAUDSTREAM_POSTGRES__HOST.",
    "certificate": "Check FRAUDSTREAM_POSTGRES__SSLMODE and __SSLROOTCERT.",
    "SSL": "Check FRAUDSTREAM_POSTGRES__SSLMODE and __SSLROOTCERT.",
    "no encryption": "Check FRAUDSTREAM_POSTGRES__SSLMODE: this server wants TLS.",
    "pg_hba.conf": "Let this user, database and address in with a line of the server's pg_hba.conf.",
    "does not exist": "Create the database, or check FRAUDSTREAM_POSTGRES__DATABASE.",
}
"""What to do for what libpq says of a login; the first that fits."""


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
    """A SQLAlchemy engine over `connect`; without a pool, as commands are short."""
    return sa.create_engine(
        "postgresql+psycopg://", creator=lambda: connect(postgres), poolclass=sa.pool.NullPool
    )
