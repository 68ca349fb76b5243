"""The embedded services as a user meets them: the real program, real Kafka, real PostgreSQL.

No test here reaches the network: a proxy is set that nobody answers at.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest

from documents import lacking
from fraudstream import kafka as kafka_clients
from fraudstream.errors import ServiceError
from fraudstream.local import services
from fraudstream.local.home import Home
from fraudstream.local.kafka import EmbeddedKafka
from fraudstream.local.postgres import PORT, EmbeddedPostgres
from fraudstream.model import artifact, packing
from fraudstream.settings import KafkaSettings, Settings
from fraudstream.store import registry
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate
from model_world import ensemble, packed, sealed
from service_program import NewProgram, Program
from waiting import HANG_SECONDS, wait_until

if TYPE_CHECKING:
    from stack.conftest import Run


@contextmanager
def listening(*ports: int) -> Iterator[None]:
    """A stranger on these ports."""
    sockets = [socket.create_server(("127.0.0.1", port)) for port in ports]
    yield
    for opened in sockets:
        opened.close()


def test_status_names_both_services(settings: Settings, run: "Run") -> None:
    done = run("status", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert lacking("status", document) == []
    assert document["kafka"]["running"]
    assert document["kafka"]["bootstrap_servers"] == settings.kafka.bootstrap_servers
    assert document["postgres"]["running"]
    assert document["postgres"]["port"] == settings.postgres.port


def test_doctor_is_content_with_running_services(run: "Run") -> None:
    done = run("doctor", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0, document
    assert document["ok"]
    assert lacking("doctor", document) == []
    names = ["java", "jars", "disk", "ports", "kafka", "postgres", "schema", "model"]
    assert [(check["name"], check["ok"], check["hint"]) for check in document["checks"]] == [
        (name, True, "") for name in names
    ]


def _said_of_the_model(run: "Run") -> tuple[int, dict[str, Any]]:
    done = run("doctor", "--json")
    return done.returncode, json.loads(done.stdout)["checks"][-1]


def test_doctor_says_whether_the_champion_can_be_opened(settings: Settings, run: "Run") -> None:
    """Before `score` does: no tables, no champion, a sound one, one of another version, an altered one."""
    said = {"name": "model", "ok": True, "hint": ""}
    assert _said_of_the_model(run) == (
        0,
        said | {"detail": "no tables yet; `fraudstream train` creates a model"},
    )
    migrate(settings.postgres)
    assert _said_of_the_model(run) == (
        0,
        said | {"detail": "no champion yet; `fraudstream train` creates one"},
    )
    trees = ensemble(("amount", 9.0, -1.0, 1.0))
    registry.register(settings.postgres, *packed("m-1", trees))
    registry.register(settings.postgres, *packed("m-2", trees, format=99))
    registry.promote(settings.postgres, "m-1")
    assert _said_of_the_model(run) == (0, said | {"detail": "champion m-1 (gradient_boosting)"})
    registry.promote(settings.postgres, "m-2")
    code, found = _said_of_the_model(run)
    assert (code, found["ok"], found["hint"]) == (1, False, "Train the model again with this version.")
    assert "model m-2 in the registry has format 99" in found["detail"]
    manifest, archive = packed("m-3", trees)
    files = sealed({**packing.unpack_files(archive, "m-3"), artifact.TREES: b"PAR1"})
    registry.register(settings.postgres, manifest, packing.pack(files))
    registry.promote(settings.postgres, "m-3")
    code, found = _said_of_the_model(run)
    assert (code, found["ok"], found["hint"]) == (1, False, "Train the model again.")
    assert "The trees of model m-3 cannot be read" in found["detail"]
    with connect(settings.postgres) as connection:
        connection.execute("update shop.models set artifact = set_byte(artifact, 3, 255)")
    code, found = _said_of_the_model(run)
    assert (code, found["ok"]) == (1, False)
    assert "The artifact of model m-3 was altered" in found["detail"]
    assert "Train the model again" in found["hint"]


def test_a_day_with_the_services(program: Program) -> None:
    """Up, up again, use, down, up: the same addresses, and the data is still there; also where pid files are lost.

    Three of the first start at once, and start one pair.
    """
    before = program.status()
    assert not before["kafka"]["running"]
    assert not before["postgres"]["running"]
    assert program.run("doctor").returncode == 1

    commands = [program.begin("up", "--json") for _ in range(3)]
    printed = [command.communicate(timeout=200)[0] for command in commands]
    assert [command.returncode for command in commands] == [0, 0, 0]
    answers = sorted(map(json.loads, printed), key=lambda answer: len(answer["started"]))
    assert [answer["started"] for answer in answers] == [[], [], ["kafka", "postgres"]]
    first = answers[-1]
    again = program.up()
    assert again["started"] == []
    are_ours_alone(program, first["postgres"])

    kafka = KafkaSettings(**first["kafka"])
    topic = kafka_clients.ensure_topic(kafka, "kept")
    with program.connect() as connection:
        connection.execute("create table kept as select 'ä' as letter")

    for service in ("kafka", "postgres"):
        (program.home / f"{service}.pid").unlink()
    assert program.run("up").stdout.count("already running") == 2
    assert program.run("down").stdout == "Stopped Kafka and PostgreSQL.\n"
    assert program.processes() == []
    assert not (program.home / "endpoints.json").exists()
    assert program.run("down").stdout == "Nothing was running.\n"

    assert program.up() == first
    assert kafka_clients.find_topic(kafka, "kept") == topic
    with program.connect() as connection:
        assert connection.execute("select letter, upper(letter) from kept").fetchall() == [("ä", "Ä")]


def are_ours_alone(program: Program, postgres: dict[str, Any]) -> None:
    """Loopback only, a password, files that nobody else may read, and no root for PostgreSQL."""
    found = program.processes()
    assert len(found) == 2
    for process in found:
        for member in (process, *process.children()):
            addresses = {c.laddr.ip for c in member.net_connections("inet") if c.status == psutil.CONN_LISTEN}
            assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}
        assert process.name() != "postgres" or process.uids().real != 0
    for name in ("endpoints.json", "postgres.password"):
        assert (program.home / name).stat().st_mode & 0o777 == 0o600
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(
            host=postgres["host"],
            port=postgres["port"],
            user="fraudstream",
            dbname="fraudstream",
            password="wrong",  # noqa: S106 - a wrong one is the point
        )


def test_what_was_killed_by_hand_starts_again_with_its_data(lasting: Program) -> None:
    """Either of them, and both; `down` stops what is left."""
    first = lasting.up()
    kafka = KafkaSettings(**first["kafka"])
    topic = kafka_clients.ensure_topic(kafka, "kept")
    with lasting.connect() as connection:
        connection.execute("create table kept as select 1")
    for victims in (["kafka"], ["postgres"], ["kafka", "postgres"]):
        status = lasting.status()
        for victim in victims:
            os.kill(status[victim]["pid"], signal.SIGKILL)
        seen = lasting.status()
        assert [name for name in ("kafka", "postgres") if not seen[name]["running"]] == victims

        assert lasting.up() == first | {"started": victims}
        assert kafka_clients.find_topic(kafka, "kept") == topic
        with lasting.connect() as connection:
            assert connection.execute("select count(*) from kept").fetchone() == (1,)
    os.kill(lasting.status()["kafka"]["pid"], signal.SIGKILL)
    assert lasting.run("down").stdout == "Stopped PostgreSQL.\n"


def test_two_homes_run_side_by_side(new_program: NewProgram, tmp_path: Path) -> None:
    """Blanks, commas, quotes and letters beyond ASCII in the name of one all mean something to Java, Kafka or a shell."""
    one, other = new_program(tmp_path / "one"), new_program(tmp_path / 'Zoë\'s home, 100% $HOME #1; "x"')
    with one.begin("up", "--json") as first, other.begin("up", "--json") as second:
        addresses = [json.loads(process.communicate(timeout=200)[0]) for process in (first, second)]
    assert addresses[0]["kafka"] != addresses[1]["kafka"]
    assert addresses[0]["postgres"]["port"] != addresses[1]["postgres"]["port"]
    one.run("down")
    assert other.status()["kafka"]["running"]
    assert other.status()["postgres"]["running"]


def test_a_stranger_on_our_ports_moves_us_and_is_named(program: Program) -> None:
    home = Home.of(program.settings)
    broker, server = (home.remembered(service)["port"] for service in ("kafka", "postgres"))
    with listening(broker, server):
        moved = program.run("up", "--json")
        assert moved.returncode == 0, moved.stderr
        for port in (broker, server):
            assert f"Port {port} was taken by another program" in moved.stderr
        second = json.loads(moved.stdout)
        assert not second["kafka"]["bootstrap_servers"].endswith(f":{broker}")
        assert second["postgres"]["port"] != server
        # The advertised address followed: a client that starts there gets all the way to a topic.
        kafka_clients.ensure_topic(KafkaSettings(**second["kafka"]), "reached")
        assert program.status()["postgres"]["running"]


def reach(program: Program, command: subprocess.Popen[str], mark: str) -> None:
    """Wait until `up` has made this file: a moment that comes on every machine, and long before its end."""
    wait_until(lambda: command.poll() is not None or any(program.home.glob(mark)), mark)
    assert command.poll() is None


def test_up_may_be_killed_at_any_moment(program: Program) -> None:
    """Each one meets what the one before it left; the first, data that are half made."""
    for service in ("kafka", "postgres"):
        half = program.home / service / "data.new"
        half.mkdir(parents=True)
        (half / "PG_VERSION").write_text("18\n")
        (half / "meta.properties").write_text("version=1\n")
    for mark in ("kafka/data.new-*", "kafka/data", "postgres.pid", "kafka.pid"):
        if mark.endswith(".pid"):  # which the one before may have written, too
            services.down(program.settings)
        with program.begin("up") as command:
            reach(program, command, mark)
            command.kill()
    program.up()
    assert len(program.processes()) == 2
    program.run("down")
    assert program.processes() == []


def test_an_interrupted_up_leaves_nothing_running(program: Program) -> None:
    """While it makes the data, and while it waits for a service that it started."""
    for mark in ("kafka/data.new-*", "postgres.pid", "kafka.pid"):
        with program.begin("up") as command:
            reach(program, command, mark)
            command.send_signal(signal.SIGTERM)
            command.communicate(timeout=HANG_SECONDS)
        assert command.returncode == 130
        assert program.processes() == []


def test_what_a_crash_of_the_machine_left_does_not_matter(program: Program) -> None:
    """Pid files whose numbers belong to others now, here to this test; and ports that no machine has."""
    program.up()
    home = Home.of(program.settings)
    data = EmbeddedPostgres(home).data
    server_pid = (data / "postmaster.pid").read_text()
    program.run("down")
    for service in ("kafka", "postgres"):
        document = {"pid": os.getpid(), "born": "another boot:1"}
        home.pid(service).write_text(json.dumps(document))
    lines = server_pid.splitlines(keepends=True)
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{''.join(lines[1:])}")
    assert not program.status()["kafka"]["running"]

    # Only preferences are remembered; spoilt ones stop no command.
    home.state("kafka").write_text('{"port": 99999999, "controller_port": "many"}')
    home.state("postgres").write_text('{"port": -1, "outside": "perhaps"}')
    # Free or not is the machine's affair: the services of another run may be there.
    said = program.run("doctor", "--json").stdout
    assert (
        f"{PORT} is free for PostgreSQL" in said or f"{PORT} is taken, PostgreSQL will take another" in said
    )
    moved = program.up()
    assert moved["started"] == ["kafka", "postgres"]
    # The broker's data, too, know the new address.
    kafka_clients.ensure_topic(KafkaSettings(**moved["kafka"]), "reached")


def test_where_addresses_are_damaged_the_advice_works(lasting: Program) -> None:
    """What cannot be read is told with a next step, and that step ends the trouble."""
    lasting.up()
    Home.of(lasting.settings).endpoints.write_text('{"kafka":')
    done = lasting.run("doctor")
    assert done.returncode == 2
    assert "Run `fraudstream down` and `fraudstream up`" in done.stderr
    assert lasting.status()["postgres"]["running"]
    assert "Stopped Kafka and PostgreSQL" in lasting.run("down").stdout
    lasting.up()
    assert lasting.run("doctor").returncode == 0


def test_a_password_that_is_not_the_data_s_own_is_said_at_once(program: Program) -> None:
    """Waiting makes no password right: neither an emptied one nor another one."""
    home = Home.of(program.settings)
    server = EmbeddedPostgres(home)
    server.start(Event())
    server.stop()
    right = home.password.read_text()
    home.password.write_text("")
    with pytest.raises(ServiceError, match=r"The password of the data in .* is missing"):
        server.start(Event())
    home.password.write_text("another")
    done = program.run("up")
    assert done.returncode == 1
    assert "does not match" in done.stderr
    assert "Restore the file" in done.stderr
    assert program.processes() == []
    home.password.write_text(f"{right}\n")
    assert server.start(Event())
    home.password.write_text("another")
    with pytest.raises(ServiceError, match="does not match"):
        server.start(Event())
    assert server.process() is not None


def test_services_that_hang_are_replaced(lasting: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process holds its port and never answers; only force ends it."""
    monkeypatch.setattr("fraudstream.local.kafka.STOP_SECONDS", 1.0)
    monkeypatch.setattr("fraudstream.local.postgres.STOP_SECONDS", 1.0)
    services.up(lasting.settings)
    for process in lasting.processes():
        process.suspend()
    assert services.up(lasting.settings).started == ("kafka", "postgres")
    assert services.status(lasting.settings)["kafka"]["running"]
    assert services.status(lasting.settings)["postgres"]["running"]


def test_a_broker_that_is_still_starting_is_waited_for(
    lasting: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It replays its log after a crash, and the `up` that began this was killed: the next one stopped it, each time."""
    lasting.up()
    home, answers = Home.of(lasting.settings), EmbeddedKafka.answers
    broker = EmbeddedKafka(home)
    starting = broker.process()
    home.remember("kafka", answered="another")
    busy = iter(range(3))
    monkeypatch.setattr(
        EmbeddedKafka,
        "answers",
        lambda self, seconds=3.0: next(busy, None) is None and answers(self, seconds),
    )
    assert not broker.start(lasting.settings, Event())
    assert next(busy, None) is None, "it was asked until it answered"
    assert broker.process() == starting


def test_a_server_whose_connections_are_all_in_use_runs_and_keeps_them(lasting: Program) -> None:
    """It was stopped and started again by `up`, which ended everybody's sessions."""
    lasting.up()
    server = EmbeddedPostgres(Home.of(lasting.settings))
    with ExitStack() as sessions:
        opened = sessions.enter_context(server._connect("postgres", 10))
        with suppress(psycopg.OperationalError):
            for _ in range(1000):
                sessions.enter_context(server._connect("postgres", 10))
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            server._connect("postgres", 10)
        assert lasting.status()["postgres"]["running"]
        assert lasting.up()["started"] == []
        assert opened.execute("select 1").fetchone() == (1,)


def suspended_recovery(server: psutil.Process) -> psutil.Process:
    """The process that replays the log after another one of the server died. It lives for a moment, which may be missed."""
    for _ in range(20):
        named(server, "checkpointer").kill()
        with suppress(AssertionError, psutil.Error):
            found = named(server, "startup")
            found.suspend()
            if found.status() == psutil.STATUS_STOPPED:
                return found
    raise AssertionError("the server never recovered")


def named(server: psutil.Process, name: str) -> psutil.Process:
    """The process of the server with this name, as soon as there is one."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        for child in server.children():
            with suppress(psutil.Error, IndexError):  # it ended
                if name in child.cmdline()[0]:
                    return child
    raise AssertionError(f"no {name}")


def test_up_waits_for_a_server_that_recovers_by_itself(lasting: Program) -> None:
    """After one of its processes died, PostgreSQL replays its log and turns connections away meanwhile."""
    lasting.up()
    status = lasting.status()["postgres"]
    recovery = suspended_recovery(psutil.Process(status["pid"]))
    with lasting.begin("up", "--json") as command:
        with pytest.raises(subprocess.TimeoutExpired):
            command.wait(3.0)
        recovery.resume()
        printed, said = command.communicate(timeout=HANG_SECONDS)
    assert json.loads(printed)["started"] == [], said
    assert lasting.status()["postgres"]["pid"] == status["pid"]


def test_reset_deletes_everything_but_what_is_not_ours(lasting: Program) -> None:
    lasting.up()
    (lasting.home / "letter.txt").write_text("mine")
    refused = lasting.run("reset")
    assert refused.returncode != 0
    assert "--yes" in refused.stderr
    assert lasting.status()["kafka"]["running"]
    assert lasting.run("reset", "--yes").returncode == 0
    assert {path.name for path in lasting.home.iterdir()} == {"letter.txt", "lock"}
    assert lasting.processes() == []
    assert lasting.up()["started"] == ["kafka", "postgres"]


def test_without_jars_and_network_up_says_what_to_do(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=tmp_path / "home", jars=tmp_path / "empty")
    done = Program(settings).run("up", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert lacking("an error", document) == []
    error = document["error"]
    assert error["code"] == "jars_missing"
    assert "fraudstream jars fetch" in error["hint"]
