"""What in FRAUDSTREAM_HOME is ours, and what somebody else had there before."""

from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from another_user import closed
from fraudstream.errors import ServiceError
from fraudstream.local import services, users
from fraudstream.local.home import MARK, Home, make
from fraudstream.local.kafka import EmbeddedKafka
from fraudstream.local.postgres import EmbeddedPostgres
from fraudstream.settings import Settings

SERVICES = ("kafka", "postgres")


def settings_of(home: Path) -> Settings:
    return Settings(_env_file=None, home=home)


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("something")
    return path


def test_reset_leaves_files_in_directories_of_the_same_names(tmp_path: Path) -> None:
    """A project's own `logs` is the first to meet this."""
    mine = [write(tmp_path / name / "mine.txt") for name in ("logs", *SERVICES)]
    mine += [write(tmp_path / service / "data" / "mine.txt") for service in SERVICES]
    services.reset(settings_of(tmp_path))
    assert all(path.exists() for path in mine)


def test_reset_takes_what_we_wrote_out_of_directories_of_somebody_else(tmp_path: Path) -> None:
    mine = [write(tmp_path / name / "mine.txt") for name in ("logs", *SERVICES)]
    home = Home(tmp_path)
    for service in SERVICES:  # as `up` leaves it
        home.remember(service, port=1)
    ours = [
        write(tmp_path / path)
        for path in (
            "logs/kafka.log",
            "logs/postgres.log",
            "logs/spark-consume.log",
            "kafka/data/meta.properties",
            "kafka/server.properties",
            "postgres/data/PG_VERSION",
            "postgres.password",
        )
    ]
    services.reset(settings_of(tmp_path))
    assert all(path.exists() for path in mine)
    assert not any(path.exists() for path in ours)


def test_reset_deletes_whole_the_directories_that_we_made(tmp_path: Path) -> None:
    """Also what nobody foresaw in them, such as the report of a JVM that crashed."""
    Home(tmp_path).prepare()
    write(tmp_path / "kafka" / "hs_err_pid1.log")
    services.reset(settings_of(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_reset_deletes_the_directories_of_a_home_that_an_older_version_made(tmp_path: Path) -> None:
    """Nothing was marked then."""
    home = Home(tmp_path)
    for service in SERVICES:
        home.remember(service, port=1)
        write(tmp_path / service / "data" / "meta.properties")
    write(tmp_path / "kafka" / "server.properties")
    write(tmp_path / "logs" / "kafka.out.log")
    services.reset(settings_of(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_reset_deletes_a_directory_that_was_moved_to_another_disk_behind_a_link(tmp_path: Path) -> None:
    """It deleted the password of PostgreSQL's data, and then failed, for good: neither `reset` nor `up` could go on."""
    home = Home(tmp_path / "home")
    home.prepare()
    make(home.postgres)
    neighbour = write(tmp_path / "disk" / "mine.txt")
    for name in ("logs", *SERVICES):
        write(home.root / name / "data" / "something")
        (home.root / name).rename(tmp_path / "disk" / name)
        (home.root / name).symlink_to(tmp_path / "disk" / name)
    write(home.password)
    services.reset(settings_of(home.root))
    assert [path.name for path in home.root.iterdir()] == ["lock"]
    assert list((tmp_path / "disk").iterdir()) == [neighbour]


def test_data_that_reset_cannot_delete_keep_their_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here because root put a link to a directory with other files in place of the data outside of its home."""
    monkeypatch.setattr(users, "OUTSIDE", tmp_path / "outside")
    home = Home(tmp_path / "home")
    home.prepare()
    home.remember("postgres", outside=True)
    mine, password = write(tmp_path / "disk" / "mine.txt"), write(home.password)
    link = EmbeddedPostgres(home).directory
    link.parent.mkdir(parents=True)
    link.symlink_to(mine.parent)
    with pytest.raises(ServiceError, match="cannot be used"):
        services.reset(settings_of(home.root))
    assert mine.exists()
    assert password.exists()


def test_data_of_somebody_else_are_never_served_nor_given_up(tmp_path: Path) -> None:
    """They were, for Kafka; and of PostgreSQL's `up` said that their password was gone, and to reset."""
    foreign = [write(tmp_path / service / "data" / "mine.txt") for service in SERVICES]
    home = Home(tmp_path)
    home.prepare()
    starts: tuple[Callable[[], bool], ...] = (
        lambda: EmbeddedPostgres(home).start(Event()),
        lambda: EmbeddedKafka(home).start(settings_of(tmp_path), Event()),
    )
    for start in starts:
        with pytest.raises(ServiceError, match="not created by fraudstream") as raised:
            start()
        assert "reset" not in str(raised.value) + raised.value.hint
        assert "FRAUDSTREAM_HOME" in raised.value.hint
    assert all(path.exists() for path in foreign)
    assert not (tmp_path / "kafka" / MARK).exists()


def test_a_lost_password_of_our_own_data_is_still_worth_a_reset(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.remember("postgres", port=1)
    write(tmp_path / "postgres" / "data" / "PG_VERSION")
    with pytest.raises(ServiceError, match="is missing") as raised:
        EmbeddedPostgres(home).start(Event())
    assert "fraudstream reset" in raised.value.hint


@pytest.mark.parametrize("command", [services.down, services.reset])
def test_a_home_without_access_is_named_by_down_and_reset(
    command: Callable[[Settings], object], tmp_path: Path
) -> None:
    """They called it a bug in fraudstream, where `up` says which directory it is."""
    home = tmp_path / "closed" / "home"
    with closed(home.parent), pytest.raises(ServiceError, match="home cannot be used: Permission denied"):
        command(settings_of(home))


def test_without_a_home_there_is_nothing_to_stop_or_delete(tmp_path: Path) -> None:
    assert services.down(settings_of(tmp_path / "none")) == ()
    assert services.reset(settings_of(tmp_path / "none")) == ()
    assert not (tmp_path / "none").exists()
