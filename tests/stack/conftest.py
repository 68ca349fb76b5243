"""Real Kafka and PostgreSQL for every test here: one pair for the run, a database and topics for each test.

The services live in a temporary home on free ports, so that several runs, and the developer's own
services, do not meet. Only the jar cache is shared: FRAUDSTREAM_JARS, else the user's own.
"""

import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest
from psycopg import sql

from commands import in_process
from environment import jar_cache, without_settings
from fraudstream.local import binaries, java, kafka, services, users
from fraudstream.local.home import Home
from fraudstream.settings import KafkaSettings, PostgresSettings, Settings
from fraudstream.store import held
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate
from free_ports import give_ports
from service_program import NewProgram, Program
from unsynced import unsync

if TYPE_CHECKING:
    from secure_services import Locked

Run = Callable[..., subprocess.CompletedProcess[str]]
"""`run("status", "--json")`: the real program with the settings of this test."""

_HOMES = "fraudstream-tests-"


def home_settings(home: Path) -> Settings:
    """Settings of a home and nothing else: no environment or `.env` of the developer gets in."""
    return Settings(
        _env_file=None, home=home, jars=jar_cache(), kafka=KafkaSettings(), postgres=PostgresSettings()
    )


def pytest_report_header() -> list[str]:
    """Which servers the tests meet."""
    found = java.find_java()
    return [f"services: {kafka.NAME}, {binaries.version()}, Java {found.version} ({found.home})"]


def _clear_abandoned() -> None:
    """Stop the services of runs that were killed before they could."""
    for home in Path(tempfile.gettempdir()).glob(f"{_HOMES}*"):
        owner = re.match(rf"{_HOMES}(\d+)-", home.name)
        if owner and home.owner() == psutil.Process().username() and not psutil.pid_exists(int(owner[1])):
            services.reset(home_settings(home))
            _remove(home)


def _remove(home: Path) -> None:
    (home / "lock").unlink(missing_ok=True)
    with suppress(FileNotFoundError):  # two runs that start at once both clear what a third one left
        home.rmdir()


@pytest.fixture(scope="session")
def embedded() -> Iterator[Settings]:
    """The services of this run, which no test kills, with an administrator's settings for them."""
    _clear_abandoned()
    home = Path(tempfile.mkdtemp(prefix=f"{_HOMES}{os.getpid()}-"))
    bare = home_settings(home)
    try:
        give_ports(Home.of(bare))
        endpoints = services.up(bare).document()
        kafka, postgres = KafkaSettings(**endpoints["kafka"]), PostgresSettings(**endpoints["postgres"])
        unsync(postgres)
        yield bare.model_copy(update={"kafka": kafka, "postgres": postgres})
    finally:
        services.reset(bare)
        _remove(home)


def _administrator(embedded: Settings) -> "psycopg.Connection[tuple[object, ...]]":
    server, secret = embedded.postgres, embedded.postgres.secret()
    assert secret is not None
    return psycopg.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        dbname="postgres",
        password=secret.get_secret_value(),
        autocommit=True,
    )


@pytest.fixture(scope="session")
def migrated(embedded: Settings) -> str:
    """The name of a database with our tables and nothing in them, to be copied: to make them takes four times as long."""
    name = f"migrated_{secrets.token_hex(6)}"
    with _administrator(embedded) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    migrate(embedded.postgres.model_copy(update={"database": name}))
    return name


@pytest.fixture
def settings(embedded: Settings, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """The services with topic names and a database of this test's own: an empty one, unless it asks for `postgres`."""
    name = f"test_{secrets.token_hex(6)}"
    like = request.getfixturevalue("migrated") if "postgres" in request.fixturenames else "template1"
    with _administrator(embedded) as connection:
        made = sql.SQL("create database {} template {}")
        connection.execute(made.format(sql.Identifier(name), sql.Identifier(like)))
    own = embedded.model_copy(
        update={
            "kafka": embedded.kafka.model_copy(
                update={"transactions_topic": f"{name}-transactions", "scored_topic": f"{name}-scored"}
            ),
            "postgres": embedded.postgres.model_copy(update={"database": name}),
        }
    )
    yield own
    held.close(own.postgres)  # which a worker of Spark keeps for its next task
    with _administrator(embedded) as connection:
        # A consumer that a test left behind must not keep its database.
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def variables(settings: Settings) -> dict[str, str]:
    """The environment in which the real program has these settings; the developer's own FRAUDSTREAM_* are out."""
    ours: dict[str, object] = {
        "HOME": settings.home,
        "JARS": settings.jars,
        "KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "KAFKA__TRANSACTIONS_TOPIC": settings.kafka.transactions_topic,
        "KAFKA__SCORED_TOPIC": settings.kafka.scored_topic,
        "POSTGRES__HOST": settings.postgres.host,
        "POSTGRES__PORT": settings.postgres.port,
        "POSTGRES__USER": settings.postgres.user,
        "POSTGRES__DATABASE": settings.postgres.database,
        "POSTGRES__PASSWORD_FILE": settings.postgres.password_file,
    }
    return without_settings() | {
        f"FRAUDSTREAM_{name}": str(value) for name, value in ours.items() if value is not None
    }


@pytest.fixture
def postgres(settings: Settings) -> PostgresSettings:
    """A database with our tables, and nothing in them."""
    return settings.postgres


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """The environment in which the real program has the settings of this test."""
    return variables(settings)


@pytest.fixture
def source(settings: Settings) -> str:
    """The name of a company's topic, whose messages have another format."""
    return f"{settings.kafka.transactions_topic}-theirs"


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs the real program with the settings of this test, away from any `.env`; keywords as `subprocess.run`."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fraudstream", *arguments]
        given = {"env": environment, "cwd": tmp_path, "timeout": 300} | options
        return subprocess.run(command, capture_output=True, text=True, check=False, **given)  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture
def call(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs a command as `run` does, but in this process: of each group of commands one test at least starts the program.

    Keywords are `env` and `input`; without the latter it reads an end of file.
    """

    def call(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return in_process(arguments, options.get("env", environment), tmp_path, options.get("input", ""))

    return call


@dataclass(frozen=True)
class Breakable:
    """Services of one test module's own, which it may kill: `home` starts them again, `settings` reaches them."""

    home: Settings
    settings: Settings

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which the real program uses these services."""
        return variables(self.settings)

    def up(self) -> None:
        """Start what is down."""
        services.up(self.home)

    def emptied(self, **kafka: object) -> Settings:
        """The services without a table, and with these settings of Kafka, such as topics of a test's own."""
        with connect(self.settings.postgres) as connection:
            connection.execute("drop schema if exists shop cascade")
        return self.settings.model_copy(update={"kafka": self.settings.kafka.model_copy(update=kafka)})


@pytest.fixture(scope="module")
def breakable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Breakable]:
    """A pair of services that a test may break."""
    home = home_settings(tmp_path_factory.mktemp("breakable"))
    give_ports(Home.of(home))
    endpoints = services.up(home).document()
    reach = {
        "kafka": KafkaSettings(**endpoints["kafka"], transactions_topic="breakable"),
        "postgres": PostgresSettings(**endpoints["postgres"]),
    }
    try:
        yield Breakable(home, home.model_copy(update=reach))
    finally:
        services.reset(home)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Locked]":
    """A pair of services that want a login over TLS."""
    import secure_services

    settings = home_settings(tmp_path_factory.mktemp("locked"))
    try:
        yield secure_services.start(settings)
    finally:
        services.reset(settings)


@contextmanager
def homes(embedded: Settings) -> Iterator[NewProgram]:
    """Makes homes, and at the end stops and deletes what was started in them."""
    made: list[Program] = []

    def make(home: Path) -> Program:
        settings = Settings(_env_file=None, home=home, jars=embedded.jars, kafka=KafkaSettings())
        made.append(Program(settings))
        return made[-1]

    yield make
    for program in made:
        services.reset(program.settings)
        assert program.processes() == []
        assert not (users.OUTSIDE / Home.of(program.settings).key).exists()


@pytest.fixture
def new_program(embedded: Settings) -> Iterator[NewProgram]:
    """Makes homes of a test's own."""
    with homes(embedded) as make:
        yield make


@pytest.fixture
def program(new_program: NewProgram, tmp_path: Path) -> Program:
    """The program with a home of the test's own."""
    program = new_program(tmp_path / "home")
    give_ports(Home.of(program.settings))
    return program


@pytest.fixture(scope="module")
def lasting(embedded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The program with a home of the module's own: its tests start what the one before them has not left running."""
    with homes(embedded) as make:
        lasting = make(tmp_path_factory.mktemp("lasting") / "home")
        give_ports(Home.of(lasting.settings))
        yield lasting
