"""What PostgreSQL's errors mean: which of ours each becomes, whether a retry may help, and what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from fraudstream.errors import DatabaseError, DatabaseUnreachable
from fraudstream.settings import PostgresSettings

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

UNDONE = "40"
"""Class of a serialisation failure or a deadlock: the other transaction won, and is done by now."""
ENDED = "57P01"
"""SQLSTATE of a session that an administrator ended: this one alone, or all of them with the server."""
FULL = "53300"
"""SQLSTATE of a server without a free connection."""

RETRYABLE = (
    "08",  # connection exceptions
    "57P",  # the server is shutting down, crashed, or not up yet
    UNDONE,
    FULL,
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


_PASSING = {
    READ_ONLY: (
        "PostgreSQL at {} is read-only: {}",
        "This server is a standby, or was made read-only: see FRAUDSTREAM_POSTGRES__HOST for the primary.",
    ),
    LOCKED: (
        "PostgreSQL at {} took too long: {}",
        "Another session holds a lock, or the server is overloaded: `select * from pg_stat_activity` shows which.",
    ),
    IDLE: (
        "PostgreSQL at {} ended a transaction that waited for Kafka: {}",
        "Raise idle_in_transaction_session_timeout of this role or database above the length of Kafka's pauses.",
    ),
    UNDONE: (
        "PostgreSQL at {} ended a transaction: {}",
        "The server is up; another transaction won. Nothing is lost: a stream tries again, any other command may be repeated.",
    ),
    ENDED: (
        "PostgreSQL at {} ended a session: {}",
        "Nothing is lost: a stream tries again. Somebody called pg_terminate_backend, or stopped the server: then start it again.",
    ),
    FULL: (
        "PostgreSQL at {} has no free connection: {}",
        "The server is up. Nothing is lost: a stream tries again. Raise max_connections, or use fewer commands at once.",
    ),
}
"""Messages and hints for what passes, by the beginning of its SQLSTATE. The server itself said so: nobody is sent to start
one that is up."""


def ours(postgres: PostgresSettings, error: psycopg.Error, *, brief: bool) -> DatabaseError:
    """The error to raise in place of this one. With `brief`, statements were limited to seconds by ourselves."""
    detail = (" ".join(str(error).split()) or type(error).__name__).rstrip(".") + "."
    where = postgres.address
    state = LOCKED if brief and error.sqlstate == CANCELLED else error.sqlstate or ""
    for beginning, (message, hint) in _PASSING.items():
        if state.startswith(beginning):
            return DatabaseUnreachable(message.format(where, detail), hint=hint)
    if is_retryable(error) and _SERVER_SPEAKS.search(str(error)):
        return DatabaseUnreachable(
            f"PostgreSQL at {where} refused the connection: {detail}",
            hint="The server is up and gives the reason: it is starting or stopping, rejects this login, or has no free"
            " connections: then raise max_connections, or use fewer commands at once.",
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


@contextmanager
def curable_cancel(postgres: PostgresSettings, connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Around a transaction of a stream: raises DatabaseUnreachable if somebody cancelled a statement in it.

    A time limit ends a statement with the same SQLSTATE, and would end the next try, too: that stays psycopg's error.
    """
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate != CANCELLED or not _by_hand(connection):
            raise
        raise DatabaseUnreachable(
            f"Somebody cancelled a statement on PostgreSQL at {postgres.address}.",
            hint="Ask whoever called pg_cancel_backend; nothing is lost.",
        ) from None


def _by_hand(connection: psycopg.Connection[Any]) -> bool:
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
