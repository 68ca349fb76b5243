"""Processes that are found again for certain, and ports."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fraudstream.errors import ServiceError
from fraudstream.local import processes
from fraudstream.local.home import Home, file_lock
from fraudstream.local.processes import Process
from waiting import wait_until


def spawn_sleeper(tmp_path: Path, seconds: str = "60") -> Process:
    command = ["sleep", seconds]
    return processes.spawn(command, output=tmp_path / "out.log", cwd=tmp_path)


def test_a_service_is_nobodys_child_and_ends_without_a_zombie(tmp_path: Path) -> None:
    service = spawn_sleeper(tmp_path)
    assert service.alive()
    assert os.getsid(service.pid) != os.getsid(0)
    service.send(signal.SIGKILL)
    assert service.wait(5)
    assert processes.identify(service.pid) is None


def test_a_number_that_now_belongs_to_a_stranger_is_not_our_service(tmp_path: Path) -> None:
    pid_file = tmp_path / "kafka.pid"
    processes.record(pid_file, Process(os.getpid(), "another time"))
    assert processes.find(pid_file, "kafka", "no such argument", tmp_path) is None


def test_a_signal_to_a_number_that_now_belongs_to_a_stranger_is_not_sent(tmp_path: Path) -> None:
    stranger = spawn_sleeper(tmp_path)
    Process(stranger.pid, "another time").send(signal.SIGKILL)
    time.sleep(0.1)
    assert stranger.alive()
    stranger.send(signal.SIGKILL)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "12", '{"pid": 1}', '{"pid": "x", "born": 3, "more": 1}', "\0"]
)
def test_a_spoilt_pid_file_is_no_service(tmp_path: Path, content: str) -> None:
    pid_file = tmp_path / "kafka.pid"
    pid_file.write_text(content)
    assert processes.find(pid_file, "kafka", "no such argument", tmp_path) is None


def test_a_service_whose_pid_file_is_gone_is_found_by_its_command_line(tmp_path: Path) -> None:
    mark = "61.0123"
    service = spawn_sleeper(tmp_path, mark)
    assert processes.find(tmp_path / "missing.pid", "sleep", mark, tmp_path) == service
    service.send(signal.SIGKILL)


def test_a_service_of_a_container_with_a_directory_of_the_same_name_is_not_ours(tmp_path: Path) -> None:
    """The host sees it by the same command line; `down` stopped it."""
    mark, theirs = "61.0234", tmp_path / "theirs"
    theirs.mkdir()
    service = processes.spawn(["sleep", mark], output=tmp_path / "out.log", cwd=theirs)
    try:
        assert processes.find(tmp_path / "missing.pid", "sleep", mark, tmp_path) is None
        assert processes.find(tmp_path / "missing.pid", "sleep", mark, tmp_path / "gone") is None
        shutil.rmtree(theirs)
        assert processes.find(tmp_path / "missing.pid", "sleep", mark, tmp_path) == service, "its own is gone"
    finally:
        service.send(signal.SIGKILL)


def test_a_server_keeps_its_data_to_itself_for_as_long_as_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from a machine or container that has the directory, but cannot see the process: two destroyed the database."""
    monkeypatch.setattr("fraudstream.local.home.ALONE_SECONDS", 0.2)
    home = Home(tmp_path)
    with home.alone("postgres") as held:
        service = processes.spawn(["sleep", "61"], output=tmp_path / "out.log", cwd=tmp_path, held=held)
    with pytest.raises(ServiceError, match="does not see uses the data of postgres"), home.alone("postgres"):
        pytest.fail("two servers have the same data")
    service.send(signal.SIGKILL)
    assert service.wait(10)
    with home.alone("postgres"):
        pass


def test_a_recorded_service_is_found(tmp_path: Path) -> None:
    service = spawn_sleeper(tmp_path)
    processes.record(tmp_path / "a.pid", service)
    assert processes.find(tmp_path / "a.pid", "sleep", "irrelevant", tmp_path) == service
    assert (tmp_path / "a.pid").stat().st_mode & 0o777 == 0o600
    service.send(signal.SIGKILL)


def test_services_do_not_inherit_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUDSTREAM_POSTGRES__PASSWORD", "secret")
    command = [sys.executable, "-c", "import os; print(sorted(os.environ))"]
    done = processes.spawn(command, output=tmp_path / "out.log", cwd=tmp_path)
    assert done.wait(20)
    written = (tmp_path / "out.log").read_text()
    assert "PATH" in written
    assert "FRAUDSTREAM" not in written


def test_a_program_that_is_missing_leaves_its_reason_in_the_log(tmp_path: Path) -> None:
    missing = str(tmp_path / "no-such-program")
    gone = processes.spawn([missing], output=tmp_path / "out.log", cwd=tmp_path)
    assert gone.wait(5)
    assert "not found" in (tmp_path / "out.log").read_text()


LEADER_IS_GONE = """
import ctypes, socket, threading, time
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=time.sleep, args=(300,)).start()
print(listener.getsockname()[1], flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_whose_threads_hold_its_port_still_runs_though_its_first_one_is_gone() -> None:
    """A Java that was killed has many threads to end: until the last one has, its port is not free for a new start."""
    with subprocess.Popen([sys.executable, "-c", LEADER_IS_GONE], stdout=subprocess.PIPE, text=True) as half:
        assert half.stdout is not None
        port = int(half.stdout.readline())
        wait_until(
            lambda: psutil.Process(half.pid).status() == psutil.STATUS_ZOMBIE, "the end of its first thread"
        )
        try:
            assert not processes.free(port)
            assert processes.identify(half.pid) is not None
        finally:
            half.kill()
        wait_until(lambda: processes.identify(half.pid) is None, "the end of the others")
        assert processes.free(port)


def test_a_preferred_port_is_taken_when_it_is_free_and_another_when_not() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not processes.free(port)
        chosen = processes.choose_port(port, None)
        assert chosen != port
        assert processes.free(chosen)
        assert chosen < 32_768, "no outgoing connection may take it while its service starts again"
    assert processes.choose_port(port) == port
    assert processes.choose_port(port, avoid=port) != port


def test_a_port_taken_on_all_addresses_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))  # noqa: S104 - a stranger who listens everywhere is the point
        taken.listen()
        assert not processes.free(taken.getsockname()[1])


def test_a_long_log_is_set_aside_and_a_short_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES", 10)
    log = tmp_path / "a.log"
    log.write_text("short")
    processes.set_aside(log)
    assert log.read_text() == "short"
    log.write_text("far too long")
    processes.set_aside(log)
    assert not log.exists()
    assert (tmp_path / "a.old.log").read_text() == "far too long"


@pytest.mark.parametrize("looks", [processes.set_aside, processes.size])
def test_a_log_directory_of_another_user_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: Callable[[Path], object]
) -> None:
    """As of a home where root ran `up`; root, who may run this test, is denied nothing."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", denied)
        with pytest.raises(ServiceError, match=r"logs cannot be used: Permission denied") as caught:
            looks(tmp_path / "logs" / "a.log")
    assert "FRAUDSTREAM_HOME" in caught.value.hint


def test_only_what_was_written_since_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("old\nnew\n")
    assert processes.tail(log, 4) == "new\n"
    assert processes.tail(tmp_path / "missing.log") == ""
    assert processes.tail(log, 1000) == "old\nnew\n", "a log that was turned over is read from its start"


def test_a_lock_is_waited_for_and_given_up_with_a_sentence(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = (
        f"import fcntl, time; f = open({str(lock)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        " print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(ServiceError, match="Another command has held"),
            file_lock(lock, "it", seconds=0.2),
        ):
            pytest.fail("two processes hold one lock")
        process.kill()
    with file_lock(lock, "it", seconds=5):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\0"])
def test_spoilt_memory_of_a_home_is_forgotten(tmp_path: Path, content: str) -> None:
    home = Home(tmp_path)
    home.state("kafka").write_text(content)
    assert home.remembered("kafka") == {}
    home.remember("kafka", port=1)
    home.remember("kafka", controller_port=2)
    assert home.remembered("kafka") == {"port": 1, "controller_port": 2}
    assert json.loads(home.state("kafka").read_text()) == {"port": 1, "controller_port": 2}


def test_a_home_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ServiceError, match="cannot be used") as raised,
        Home(tmp_path / "file" / "home").locked(),
    ):
        pytest.fail("a directory below a file")
    assert "FRAUDSTREAM_HOME" in raised.value.hint
