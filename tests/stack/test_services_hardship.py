"""The embedded services on full disks, in closed directories, as root and as other users."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from fraudstream.errors import ServiceError
from fraudstream.local import binaries, services, users
from fraudstream.local.home import Home
from fraudstream.local.postgres import DATABASE, EmbeddedPostgres
from fraudstream.settings import Settings
from service_program import NewProgram, Program, Who

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def small_disk() -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of a given size, where PostgreSQL's user can reach it."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        place = Path(tempfile.mkdtemp(prefix="disk-"))
        options = f"size={size},mode=755"
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], check=False).returncode:
            place.rmdir()
            pytest.skip("mounting is not permitted here")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


@as_root
def test_a_disk_that_is_too_small_is_named_at_once(
    small_disk: Callable[[str], Path], new_program: NewProgram
) -> None:
    program = new_program(small_disk("64m"))
    done = program.run("up")
    assert done.returncode == 1
    assert "is full" in done.stderr
    assert "FRAUDSTREAM_HOME" in done.stderr
    assert program.processes() == []


@as_root
@pytest.mark.parametrize("size", ["1m", "8m", "24m", "48m"])
def test_a_disk_that_fills_while_the_data_is_made_is_named(
    small_disk: Callable[[str], Path], new_program: NewProgram, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """With the look at the free space switched off, the services themselves meet the end of the disk."""
    monkeypatch.setattr("fraudstream.local.failures.NEW_BYTES", 0)
    monkeypatch.setattr("fraudstream.local.failures.OLD_BYTES", 0)
    program = new_program(small_disk(size) / "home")
    with pytest.raises(ServiceError, match=r"is full|No space left on device"):
        services.up(program.settings)
    assert program.processes() == []


@as_root
def test_a_disk_that_filled_up_is_named_and_all_is_well_when_there_is_room_again(
    small_disk: Callable[[str], Path], new_program: NewProgram
) -> None:
    disk = small_disk("300m")
    program = new_program(disk / "home")
    program.up()
    with program.connect() as connection:
        connection.execute("create table kept as select 1")
    program.run("down")
    free = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(free - 1_000_000))
    done = program.run("up")
    assert done.returncode == 1
    assert "is full" in done.stderr
    (disk / "filler").unlink()
    program.up()
    with program.connect() as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1,)


def _reachable_copy(settings: Settings, uid: int, directory: Path) -> None:
    assert settings.jars is not None
    # Without the archive of classes, hundreds of megabytes that are made where they are missing.
    shutil.copytree(settings.jars, directory / "jars", ignore=shutil.ignore_patterns("classes"))
    for path in (directory, *directory.rglob("*")):
        os.chown(path, uid, uid)


def _open_python(uid: int) -> str:
    """A Python of our version that this user may run."""
    same = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, shutil.which(same, path="/usr/local/bin:/usr/bin")):
        if python and subprocess.run(["test", "-x", python], user=uid, check=False).returncode == 0:
            return python
    pytest.skip(f"every {same} here is closed to other users")


@as_root
def test_an_ordinary_user_needs_nothing_of_root(embedded: Settings) -> None:
    """Runs the program as another user, below a directory of that user."""
    nobody = pwd.getpwnam("nobody")
    uid, gid = nobody.pw_uid, nobody.pw_gid
    python = _open_python(uid)
    directory = Path(tempfile.mkdtemp(prefix="ordinary-"))
    _reachable_copy(embedded, uid, directory)
    settings = Settings(_env_file=None, home=directory / "home", jars=directory / "jars")
    program = Program(settings, Who(user=uid, group=gid, extra_groups=[]), python)
    try:
        program.up()
        assert {process.uids().real for process in program.processes()} == {uid}
        # Root, too, finds what belongs to the user.
        assert Program(settings).status()["postgres"]["running"]
        assert program.run("down").stdout == "Stopped Kafka and PostgreSQL.\n"
    finally:
        services.reset(program.settings)
        shutil.rmtree(directory)


@as_root
def test_a_user_without_a_name_is_told_so(embedded: Settings) -> None:
    """As in a container that was started under a number of its own."""
    python = _open_python(54321)
    directory = Path(tempfile.mkdtemp(prefix="nameless-"))
    _reachable_copy(embedded, 54321, directory)
    settings = Settings(_env_file=None, home=directory / "home", jars=directory / "jars")
    try:
        program = Program(settings, Who(user=54321, group=54321, extra_groups=[]), python)
        done = program.run("up")
        assert done.returncode == 1
        assert "user 54321 has none" in done.stderr
        assert program.processes() == []
    finally:
        shutil.rmtree(directory)


@as_root
def test_root_with_a_closed_home_and_a_closed_python_still_gets_a_server(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both below /root is how a container usually has it; PostgreSQL's user may enter neither."""
    package = binaries.installed().parent
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for directory in package.parent.glob(f"{package.name}*"):
        shutil.copytree(directory, closed / directory.name)
    outside = Path(tempfile.mkdtemp(prefix="outside-"))
    monkeypatch.setattr(binaries, "installed", lambda: closed / package.name / "pginstall18")
    monkeypatch.setattr(users, "OUTSIDE", outside)
    try:
        services.up(program.settings)
        assert EmbeddedPostgres(Home.of(program.settings)).data.is_relative_to(outside)
        assert services.status(program.settings)["postgres"]["running"]
        services.reset(program.settings)
        assert [path.name for path in outside.iterdir() if path.name != "lock"] == [
            path.name for path in outside.glob("postgresql-18-*")
        ]
    finally:
        shutil.rmtree(outside)


@as_root
def test_a_closed_home_keeps_its_data_wherever_it_is_moved_and_shares_none_with_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its database was found by its path: elsewhere a new one began, whose password replaced that of the data."""
    outside = Path(tempfile.mkdtemp(prefix="outside-"))
    monkeypatch.setattr(users, "OUTSIDE", outside)
    first, link, moved, copied = (tmp_path / name for name in ("first", "link", "moved", "copied"))
    tmp_path.chmod(0o700)

    def in_it(root: Path, statement: str) -> list[tuple[Any, ...]]:
        server = EmbeddedPostgres(Home(root))
        with server.home.locked():
            server.start(Event())
            try:
                with server._connect(DATABASE, 10) as connection:
                    cursor = connection.execute(statement.encode())
                    return cursor.fetchall() if cursor.description else []
            finally:
                server.stop()

    tables = "select relname from pg_class where relname = 'kept'"
    try:
        in_it(first, "create table kept ()")
        link.symlink_to(first)
        assert in_it(link, tables) == [("kept",)]
        assert in_it(first, tables) == [("kept",)]
        first.rename(moved)
        (first / "logs").mkdir(parents=True)  # of a command that still has the old path
        assert in_it(moved, tables) == [("kept",)]
        shutil.copytree(moved, copied)
        assert in_it(copied, tables) == []
        assert "PostgreSQL begins empty" in caplog.text
        EmbeddedPostgres(Home(copied)).remove()
        assert in_it(moved, tables) == [("kept",)]
        EmbeddedPostgres(Home(moved)).remove()
        assert [path for path in outside.iterdir() if path.is_dir() and path.name[0] != "p"] == []
    finally:
        shutil.rmtree(outside)
