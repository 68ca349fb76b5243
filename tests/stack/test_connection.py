"""What a connection is like, whatever the server, the database or the role defaults to."""

import os
import re
import secrets
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from psycopg import sql
from pydantic import SecretStr

from forwarder import close
from fraudstream.errors import DatabaseError, DatabaseUnreachable, InputError
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.store import alerts, held, registry
from fraudstream.store.connection import SESSION, connect, connected
from fraudstream.store.migrate import migrate
from profile_world import messages, store, stored_profiles, transaction

STRANGE = {
    "timezone": "Asia/Tokyo",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-15",
    "default_transaction_isolation": "repeatable read",
}
"""What a database may have for other programs' sake."""
SHELL = {"PGTZ": "Asia/Tokyo", "PGDATESTYLE": "German", "PGGEQO": "off", "PGHOSTADDR": "127.0.0.2"}
"""What somebody's shell may have for psql's."""


@pytest.mark.parametrize(
    "asked",
    [
        alerts.alert,
        lambda postgres, name: alerts.alerts(postgres, user_id=name),
        registry.get,
        registry.promote,
    ],
    ids=["alerts explain", "alerts list", "models show", "models promote"],
)
def test_an_id_that_is_not_utf_8_is_said_to_be_none(
    settings: Settings, asked: Callable[[PostgresSettings, str], object]
) -> None:
    """As a terminal of another encoding types it."""
    migrate(settings.postgres)
    with pytest.raises(InputError, match=r"'caf\\udce9' is not valid UTF-8"):
        asked(settings.postgres, os.fsdecode(b"caf\xe9"))


def test_a_database_and_a_shell_with_habits_of_their_own_are_read_and_written_as_any_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dates in the German form could not be read, and tasks that meet in one row failed for ever."""
    with connect(settings.postgres, autocommit=True) as connection:
        for name, value in STRANGE.items():
            database, setting = sql.Identifier(settings.postgres.database), sql.Identifier(name)
            connection.execute(sql.SQL("alter database {} set {} = {}").format(database, setting, value))
    for name, value in SHELL.items():
        monkeypatch.setenv(name, value)
    migrate(settings.postgres)
    values = [transaction(f"t{i}", Random(i)) for i in range(20)]
    assert store(settings.postgres, [messages(values)]).stored["profiles"]
    assert stored_profiles(settings.postgres).num_rows
    with connect(settings.postgres) as connection:
        found = {name: connection.execute(f"show {name}".encode()).fetchone() for name in SESSION}
        assert connection.execute("show transaction_isolation").fetchone() == ("read committed",)
        assert connection.execute("select 0.1::float8 + 0.2::float8").fetchone() == (0.1 + 0.2,)
        read = connection.execute("select timestamptz '2025-03-01 00:00+09', interval '1 day 2 hours'")
        assert read.fetchone() == (datetime(2025, 2, 28, 15, tzinfo=UTC), timedelta(days=1, hours=2))
    assert {name: value[0].partition(",")[0] for name, value in found.items() if value} == SESSION


def test_a_time_limit_of_the_database_is_named_and_not_waited_for(settings: Settings) -> None:
    """A large merge met it again and again, for ever; what a driver writes down beside its stream has a limit of its own."""
    with connect(settings.postgres, autocommit=True) as connection:
        database = sql.Identifier(settings.postgres.database)
        connection.execute(sql.SQL("alter database {} set statement_timeout = '200ms'").format(database))
    with (
        pytest.raises(DatabaseError, match="statement timeout") as caught,
        connected(settings.postgres) as connection,
    ):
        connection.execute("select pg_sleep(5)")
    assert type(caught.value) is DatabaseError
    assert "statement_timeout" in caught.value.hint
    with connected(settings.postgres, brief=True) as connection:
        connection.execute("select pg_sleep(0.5)")


def test_a_pooler_that_passes_on_only_what_it_knows_is_asked_for_no_more(settings: Settings) -> None:
    """PgBouncer ends a login that sets anything else. Between it and the server are sockets of its own."""
    with pooled(settings.postgres) as postgres, connect(postgres) as connection:
        assert connection.execute("show timezone").fetchone() == ("UTC",)
        assert connection.execute("show transaction_isolation").fetchone() == ("read committed",)


def test_slices_are_stored_by_way_of_a_pooler_that_has_another_backend_for_each_transaction(
    settings: Settings,
) -> None:
    """What one backend prepared, or set, another one does not know: PgBouncer as it comes does not prepare it there."""
    migrate(settings.postgres)
    with pooled(settings.postgres) as postgres:
        for n in range(10):
            stored = store(postgres, [messages([transaction(f"t{n}", Random(n))], n)]).stored
            assert stored["profiles"] == 1
        held.close(postgres)
    assert stored_profiles(settings.postgres).num_rows


def test_locks_of_a_machine_that_vanished_are_free_within_a_minute(settings: Settings) -> None:
    """The server asks for signs of life as soon as we do; as systems have it, the first time after two hours."""
    with connect(settings.postgres) as connection:
        found = {
            name: connection.execute(f"show {name}".encode()).fetchone()
            for name in (
                "tcp_keepalives_idle",
                "tcp_keepalives_interval",
                "tcp_keepalives_count",
                "tcp_user_timeout",
            )
        }
    assert [value[0] for value in found.values() if value] == ["10", "5", "4", "60000"]


def test_a_standby_is_waited_for_as_a_name_points_at_it_for_seconds_after_a_failover(
    settings: Settings,
) -> None:
    migrate(settings.postgres)
    with connect(settings.postgres, autocommit=True) as connection:
        database = sql.Identifier(settings.postgres.database)
        connection.execute(
            sql.SQL("alter database {} set default_transaction_read_only = on").format(database)
        )
    with pytest.raises(DatabaseUnreachable, match="is read-only") as caught:
        store(settings.postgres, [messages([transaction("t", Random(1))])])
    assert "standby" in caught.value.hint


@pytest.mark.parametrize(
    ("statement", "reason", "hint"),
    [
        ("alter role {login} nologin", "not permitted to log in", "in role"),
        (
            "revoke connect on database {database} from public",
            "permission denied for database",
            "grant connect",
        ),
    ],
    ids=["nologin", "connect"],
)
def test_a_login_that_was_refused_for_good_is_no_server_that_is_away(
    settings: Settings, login: PostgresSettings, statement: str, reason: str, hint: str
) -> None:
    """A stream would wait five minutes for it, and ask for a server to be started."""
    connect(login).close()
    with connect(settings.postgres, autocommit=True) as connection:
        names = {"login": sql.Identifier(login.user), "database": sql.Identifier(login.database)}
        connection.execute(sql.SQL(statement).format(**names))
    with pytest.raises(DatabaseError, match=reason) as caught:
        connect(login)
    assert type(caught.value) is DatabaseError
    assert hint in caught.value.hint


def test_a_server_that_has_no_room_is_waited_for_and_not_asked_to_be_started(
    settings: Settings, login: PostgresSettings
) -> None:
    with connect(settings.postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("alter role {} connection limit 0").format(sql.Identifier(login.user)))
    with pytest.raises(DatabaseUnreachable, match=r"refused the connection.*too many connections") as caught:
        connect(login)
    assert "The server is up" in caught.value.hint


@contextmanager
def pooled(postgres: PostgresSettings) -> Iterator[PostgresSettings]:
    """The server behind what knows what PgBouncer 1.20 knows, answers as it does, and has another backend for each transaction."""
    known = {"timezone", "datestyle", "intervalstyle"}
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as backends, suppress(OSError):

        def serve() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    near, _ = listener.accept()
                    begin(near)

        def begin(near: socket.socket) -> None:
            hello = near.recv(65_536)
            while len(hello) == 8:  # TLS, or an encrypted login: not here
                near.sendall(b"N")
                hello = near.recv(65_536)
            names = re.findall(rb"-c (\w+)=", hello)
            foreign = [name for name in names if name.decode() not in known]
            if foreign:
                words = b"SFATAL\0C08P01\0Munsupported startup parameter in options: " + foreign[0] + b"\0\0"
                near.sendall(b"E" + struct.pack("!i", len(words) + 4) + words)
                near.close()
                return
            first = socket.create_connection(("127.0.0.1", postgres.port))
            first.sendall(hello)
            # An odd number: of two, the slices had one, and the question before each whether the line is alive the other.
            others = [backends.enter_context(connect(postgres)) for _ in range(2)]
            pool = deque([first, *(socket.socket(fileno=os.dup(other.fileno())) for other in others)])
            idle = threading.Event()
            for backend in pool:
                backend.setblocking(True)
                threading.Thread(target=answer, args=(backend, near, idle), daemon=True).start()
            threading.Thread(target=ask, args=(near, pool, idle), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield postgres.model_copy(update={"port": listener.getsockname()[1]})


def ask(near: socket.socket, pool: deque[socket.socket], idle: threading.Event) -> None:
    """Each transaction of the client to the next backend of the pool."""
    for message in protocol_messages(near):
        if idle.is_set():
            idle.clear()
            pool.rotate()
        pool[0].sendall(message)
    for end in (near, *pool):
        close(end)


def answer(backend: socket.socket, near: socket.socket, idle: threading.Event) -> None:
    """What a backend says to the client; `idle` once a transaction is over."""
    with suppress(OSError):
        for message in protocol_messages(backend):
            if message == b"Z\0\0\0\5I":
                idle.set()
            near.sendall(message)


def protocol_messages(source: socket.socket) -> Iterator[bytes]:
    """Until that side ends."""
    with suppress(OSError), source.makefile("rb") as file:
        while len(head := file.read(5)) == 5:
            yield head + file.read(int.from_bytes(head[1:]) - 4)


@pytest.fixture
def login(settings: Settings) -> Iterator[PostgresSettings]:
    """A login of this test's own."""
    name, password = f"login_{secrets.token_hex(4)}", secrets.token_hex(8)
    with connect(settings.postgres, autocommit=True) as connection:
        role = sql.Identifier(name)
        connection.execute(sql.SQL("create role {} login password {}").format(role, sql.Literal(password)))
        yield settings.postgres.model_copy(
            update={"user": name, "password": SecretStr(password), "password_file": None}
        )
        connection.execute(sql.SQL("drop role {}").format(role))
