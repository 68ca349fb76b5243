"""The embedded services as a user meets them: the real program, real Kafka, real PostgreSQL.

No test here reaches the network: a proxy is set that nobody answers at.
"""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest

from fraudstream import kafka as kafka_clients
from fraudstream.local import services
from fraudstream.local.home import Home
from fraudstream.local.postgres import PORT, START_SECONDS, EmbeddedPostgres
from fraudstream.settings import KafkaSettings, Settings
from fraudstream.store import registry
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate
from model_world import ensemble, packed
from service_program import NewProgram, Program

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
    assert document["kafka"]["running"]
    assert document["kafka"]["bootstrap_servers"] == settings.kafka.bootstrap_servers
    assert document["postgres"]["running"]
    assert document["postgres"]["port"] == settings.postgres.port


def test_doctor_is_content_with_running_services(run: "Run") -> None:
    done = run("doctor", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0, document
    assert document["ok"]
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
        said | {"detail": "no tables yet; `fraudstream train` makes a model"},
    )
    migrate(settings.postgres)
    assert _said_of_the_model(run) == (
        0,
        said | {"detail": "no champion yet; `fraudstream train` makes one"},
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
    with connect(settings.postgres) as connection:
        connection.execute("update shop.models set artifact = set_byte(artifact, 3, 255)")
    code, found = _said_of_the_model(run)
    assert (code, found["ok"]) == (1, False)
    assert "The artifact of model m-2 was altered" in found["detail"]
    assert "Train the model again" in found["hint"]


def test_a_day_with_the_services(program: Program) -> None:
    """Up, up again, use, down, up: the same addresses, and the data is still there."""
    before = program.status()
    assert not before["kafka"]["running"]
    assert not before["postgres"]["running"]
    assert program.run("doctor").returncode == 1

    first = program.up()
    assert first["started"] == ["kafka", "postgres"]
    again = program.up()
    assert again["started"] == []
    assert "running already" in program.run("up").stdout

    kafka = KafkaSettings(**first["kafka"])
    topic = kafka_clients.ensure_topic(kafka, "kept")
    with program.connect() as connection:
        connection.execute("create table kept as select 'ä' as letter")

    assert program.run("down").stdout == "Stopped Kafka and PostgreSQL.\n"
    assert program.processes() == []
    assert not (program.home / "endpoints.json").exists()
    assert program.run("down").stdout == "Nothing was running.\n"

    assert program.up() == first
    assert kafka_clients.find_topic(kafka, "kept") == topic
    with program.connect() as connection:
        assert connection.execute("select letter, upper(letter) from kept").fetchall() == [("ä", "Ä")]


def test_services_are_ours_alone(program: Program) -> None:
    """Loopback only, a password, files that nobody else may read, and no root for PostgreSQL."""
    endpoints = program.up()
    found = program.processes()
    assert len(found) == 2
    for process in found:
        for member in (process, *process.children()):
            addresses = {c.laddr.ip for c in member.net_connections("inet") if c.status == psutil.CONN_LISTEN}
            assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}
        assert process.name() != "postgres" or process.uids().real != 0
    for name in ("endpoints.json", "postgres.password"):
        assert (program.home / name).stat().st_mode & 0o777 == 0o600
    postgres = endpoints["postgres"]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(
            host=postgres["host"],
            port=postgres["port"],
            user="fraudstream",
            dbname="fraudstream",
            password="wrong",  # noqa: S106 - a wrong one is the point
        )


@pytest.mark.parametrize("victims", [("kafka",), ("postgres",), ("kafka", "postgres")])
def test_what_was_killed_by_hand_starts_again_with_its_data(
    program: Program, victims: tuple[str, ...]
) -> None:
    first = program.up()
    kafka = KafkaSettings(**first["kafka"])
    topic = kafka_clients.ensure_topic(kafka, "kept")
    with program.connect() as connection:
        connection.execute("create table kept as select 1")
    status = program.status()
    for victim in victims:
        os.kill(status[victim]["pid"], signal.SIGKILL)
    seen = program.status()
    assert {name for name in ("kafka", "postgres") if not seen[name]["running"]} == set(victims)

    assert program.up() == first | {"started": list(victims)}
    assert kafka_clients.find_topic(kafka, "kept") == topic
    with program.connect() as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1,)


def test_down_after_a_kill_stops_the_other_one(program: Program) -> None:
    program.up()
    os.kill(program.status()["kafka"]["pid"], signal.SIGKILL)
    assert program.run("down").stdout == "Stopped PostgreSQL.\n"


def test_two_homes_run_side_by_side(new_program: NewProgram, tmp_path: Path) -> None:
    one, other = new_program(tmp_path / "one"), new_program(tmp_path / "other")
    with one.begin("up", "--json") as first, other.begin("up", "--json") as second:
        addresses = [json.loads(process.communicate(timeout=200)[0]) for process in (first, second)]
    assert addresses[0]["kafka"] != addresses[1]["kafka"]
    assert addresses[0]["postgres"]["port"] != addresses[1]["postgres"]["port"]
    one.run("down")
    assert other.status()["kafka"]["running"]
    assert other.status()["postgres"]["running"]


def test_three_that_start_at_once_start_one_pair(program: Program) -> None:
    commands = [program.begin("up", "--json") for _ in range(3)]
    answers = [command.communicate(timeout=200)[0] for command in commands]
    assert [command.returncode for command in commands] == [0, 0, 0]
    started = sorted(json.loads(answer)["started"] for answer in answers)
    assert started == [[], [], ["kafka", "postgres"]]
    assert len(program.processes()) == 2


def test_a_stranger_on_our_ports_moves_us_and_is_named(program: Program) -> None:
    first = program.up()
    program.run("down")
    taken = int(first["kafka"]["bootstrap_servers"].split(":")[1]), first["postgres"]["port"]
    with listening(*taken):
        moved = program.run("up", "--json")
        assert moved.returncode == 0, moved.stderr
        for port in taken:
            assert f"Port {port} was taken by another program" in moved.stderr
        second = json.loads(moved.stdout)
        assert second["kafka"] != first["kafka"]
        assert second["postgres"]["port"] != first["postgres"]["port"]
        # The advertised address followed: a client that starts there gets all the way to a topic.
        kafka_clients.ensure_topic(KafkaSettings(**second["kafka"]), "reached")
        assert program.status()["postgres"]["running"]


def test_half_made_data_is_made_again(program: Program) -> None:
    """What an `up` leaves that was killed while it made the data."""
    for service in ("kafka", "postgres"):
        half = program.home / service / "data.new"
        half.mkdir(parents=True)
        (half / "PG_VERSION").write_text("18\n")
        (half / "meta.properties").write_text("version=1\n")
    program.up()


def test_up_may_be_killed_at_any_moment(program: Program) -> None:
    for moment in (0.25, 0.5, 0.8, 1.1, 1.4, 1.8, 2.3):
        with program.begin("up") as command:
            time.sleep(moment)
            command.kill()
    program.up()
    assert len(program.processes()) == 2
    program.run("down")
    assert program.processes() == []


@pytest.mark.parametrize("moment", [0.0, 0.6, 1.2])
def test_an_interrupted_up_leaves_nothing_running(program: Program, moment: float) -> None:
    with program.begin("up") as command:
        assert command.stderr is not None
        assert command.stderr.readline(), "a word of what it begins; before that it had not begun"
        time.sleep(moment)
        command.send_signal(signal.SIGTERM)
        command.communicate(timeout=60)
    if command.returncode == 0:
        pytest.skip("this machine was quicker than the signal")
    assert command.returncode == 130
    assert program.processes() == []


def test_stale_pid_files_do_not_matter(program: Program) -> None:
    """After a crash of the machine the numbers in them belong to others: here, to this test."""
    program.up()
    data = EmbeddedPostgres(Home.of(program.settings)).data
    server_pid = (data / "postmaster.pid").read_text()
    program.run("down")
    for service in ("kafka", "postgres"):
        document = {"pid": os.getpid(), "born": "another boot:1"}
        (program.home / f"{service}.pid").write_text(json.dumps(document))
    lines = server_pid.splitlines(keepends=True)
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{''.join(lines[1:])}")
    assert not program.status()["kafka"]["running"]
    assert program.up()["started"] == ["kafka", "postgres"]


def test_where_addresses_are_damaged_the_advice_works(program: Program) -> None:
    """What cannot be read is told with a next step, and that step ends the trouble."""
    program.up()
    Home.of(program.settings).endpoints.write_text('{"kafka":')
    done = program.run("doctor")
    assert done.returncode == 2
    assert "Run `fraudstream down` and `fraudstream up`" in done.stderr
    assert program.status()["postgres"]["running"]
    assert "Stopped Kafka and PostgreSQL" in program.run("down").stdout
    program.up()
    assert program.run("doctor").returncode == 0


def test_ports_that_no_machine_has_are_forgotten(program: Program) -> None:
    """Only preferences are remembered; spoilt ones stop no command."""
    home = Home.of(program.settings)
    program.up()
    program.run("down")
    home.state("kafka").write_text('{"port": 99999999, "controller_port": "many"}')
    home.state("postgres").write_text('{"port": -1, "outside": "perhaps"}')
    # Free or not is the machine's affair: the services of another run may be there.
    said = program.run("doctor", "--json").stdout
    assert (
        f"{PORT} is free for PostgreSQL" in said or f"{PORT} is taken, PostgreSQL will take another" in said
    )
    assert program.up()["started"] == ["kafka", "postgres"]


def test_a_password_that_is_not_the_data_s_own_is_said_at_once(program: Program) -> None:
    """Waiting makes no password right: neither an emptied one nor another one."""
    program.up()
    program.run("down")
    home = Home.of(program.settings)
    right = home.password.read_text()
    for wrong in ("", "another"):
        home.password.write_text(wrong)
        began = time.monotonic()
        done = program.run("up")
        assert time.monotonic() - began < START_SECONDS / 2
        assert done.returncode == 1
        assert "password" in done.stderr
        assert "Restore the file" in done.stderr
        assert program.processes() == []
    home.password.write_text(f"{right}\n")
    assert program.up()["started"] == ["kafka", "postgres"]


def test_services_whose_pid_files_are_lost_are_found(program: Program) -> None:
    program.up()
    for service in ("kafka", "postgres"):
        (program.home / f"{service}.pid").unlink()
    assert program.up()["started"] == []
    assert program.run("down").stdout == "Stopped Kafka and PostgreSQL.\n"


def test_services_that_hang_are_replaced(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process holds its port and never answers; only force ends it."""
    monkeypatch.setattr("fraudstream.local.kafka.STOP_SECONDS", 1.0)
    monkeypatch.setattr("fraudstream.local.postgres.STOP_SECONDS", 1.0)
    services.up(program.settings)
    for process in program.processes():
        process.suspend()
    assert services.up(program.settings).started == ("kafka", "postgres")
    assert services.status(program.settings)["kafka"]["running"]
    assert services.status(program.settings)["postgres"]["running"]


def test_a_home_may_have_a_strange_name(new_program: NewProgram, tmp_path: Path) -> None:
    """Blanks, commas, quotes and letters beyond ASCII all mean something to Java, Kafka or a shell."""
    strange = new_program(tmp_path / 'Zoë\'s home, 100% $HOME #1; "x"')
    strange.up()
    assert strange.status()["kafka"]["running"]


def test_reset_deletes_everything_but_what_is_not_ours(program: Program) -> None:
    program.up()
    (program.home / "letter.txt").write_text("mine")
    refused = program.run("reset")
    assert refused.returncode != 0
    assert "--yes" in refused.stderr
    assert program.status()["kafka"]["running"]
    assert program.run("reset", "--yes").returncode == 0
    assert {path.name for path in program.home.iterdir()} == {"letter.txt", "lock"}
    assert program.processes() == []
    assert program.up()["started"] == ["kafka", "postgres"]


def test_without_jars_and_network_up_says_what_to_do(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=tmp_path / "home", jars=tmp_path / "empty")
    done = Program(settings).run("up", "--json")
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 1
    assert error["code"] == "jars_missing"
    assert "fraudstream jars fetch" in error["hint"]
