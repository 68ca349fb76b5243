"""Java starts from what an earlier Java left of its classes. With the real Java and Kafka's jars."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from fraudstream.local import classes
from fraudstream.local.jars import kafka_jars
from fraudstream.local.java import find_java
from fraudstream.settings import Settings

MAPPED = "shared objects file (top)"
"""How Java's log calls the place of a class that came out of our archive."""


@pytest.fixture(scope="module")
def jars(embedded: Settings) -> list[Path]:
    return kafka_jars(embedded)


@pytest.fixture(scope="module")
def left(jars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one Java left, before anybody took it: to write it costs several starts."""
    options = asked(tmp_path_factory.mktemp("left"), jars)
    run(options, jars)
    return Path(options[0].partition("=")[2])


def run(options: list[str], jars: list[Path]) -> str:
    """A short life of Java: what it says of the classes that it loads, and the id that its program makes."""
    command = [
        str(find_java().binary),
        *options,
        "-Xlog:class+load:stdout",
        "-cp",
        ":".join(map(str, jars)),
        "kafka.tools.StorageTool",
        "random-uuid",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert "warning" not in done.stdout + done.stderr
    return done.stdout


def asked(cache: Path, jars: list[Path], *, write: bool = True) -> list[str]:
    return classes.options(cache, find_java().binary, jars, write=write)


def leave(options: list[str], left: Path) -> None:
    """Leave there what a Java with these options leaves as it ends."""
    shutil.copy2(left, options[0].partition("=")[2])


def test_what_one_java_leaves_the_next_one_starts_from(
    tmp_path: Path, jars: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory and properties that both are told of do not matter."""
    told = "-Xms64m -Xmx256m -Dhttps.proxyHost=proxy -XX:TieredStopAtLevel=1"
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", told)
    cache = tmp_path / "a cache with spaces"
    assert asked(cache, jars, write=False) == []
    first = run(asked(cache, jars), jars)
    assert MAPPED not in first
    options = asked(cache, jars, write=False)
    assert run(options, jars).count(MAPPED) > 200
    assert asked(cache, jars) == options
    assert [file.suffix for file in (cache / "classes").iterdir()] == [".jsa"]


@pytest.mark.parametrize(
    "told",
    [
        "-javaagent:/opt/agent.jar",
        "-agentlib:jdwp",
        "--add-modules=x",
        "@/etc/java.options",
        "-Djava.system.class.loader=x",
        "-Xshare:off",
        "-XX:-UseCompressedClassPointers",
    ],
)
def test_a_java_that_is_told_what_keeps_it_from_leaving_one_is_not_asked_to(
    tmp_path: Path, jars: list[Path], monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    """Java would not start at all, with an agent for example."""
    java = find_java().binary
    for name in ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "SPARK_SUBMIT_OPTS"):
        with monkeypatch.context() as patch:
            patch.setenv(name, f"-Xmx1g {told}")
            assert classes.options(tmp_path, java, jars, write=True) == []
    monkeypatch.setenv("SPARK_CONF_DIR", "/etc/spark")
    assert asked(tmp_path, jars) == []


def test_an_archive_where_others_may_write_is_not_started_from(
    tmp_path: Path, jars: list[Path], left: Path
) -> None:
    """It holds code, and its checksum is one that anybody can set."""
    leave(asked(tmp_path, jars), left)
    assert asked(tmp_path, jars, write=False)
    (tmp_path / "classes").chmod(0o777)
    assert asked(tmp_path, jars) == []


def test_two_that_leave_one_at_once_do_not_disturb_each_other(
    tmp_path: Path, jars: list[Path], left: Path
) -> None:
    one, other = asked(tmp_path, jars), asked(tmp_path, jars)
    assert one != other
    for options in (one, other):
        leave(options, left)
    assert MAPPED in run(asked(tmp_path, jars), jars)
    assert len(list((tmp_path / "classes").iterdir())) == 1


def test_other_jars_have_an_archive_of_their_own(tmp_path: Path, jars: list[Path], left: Path) -> None:
    """Java refuses one whose jars have changed, and would for ever start slowly."""
    copies = [Path(shutil.copy2(jar, tmp_path)) for jar in jars]
    leave(asked(tmp_path, jars), left)
    assert asked(tmp_path, copies, write=False) == []
    leave(asked(tmp_path, copies), left)
    assert asked(tmp_path, copies, write=False)
    os.utime(copies[0], (0, 0))
    assert asked(tmp_path, copies, write=False) == []


@pytest.mark.parametrize("damage", ["garbage", "hole", "cut", "empty"])
def test_a_damaged_archive_stops_no_java(tmp_path: Path, jars: list[Path], left: Path, damage: str) -> None:
    """Of one that was cut Java would take no notice, and crash: none starts from it."""
    leave(asked(tmp_path, jars), left)
    option = asked(tmp_path, jars)[0]
    archive = Path(option.partition("=")[2])
    archive.chmod(0o600)
    whole = archive.read_bytes()
    third = len(whole) // 3
    archive.write_bytes(
        {
            "garbage": b"\xff" * len(whole),
            "hole": whole[:third] + bytes(third) + whole[2 * third :],
            "cut": whole[:third],
            "empty": b"",
        }[damage]
    )
    options = asked(tmp_path, jars)
    if damage in {"cut", "empty"}:
        assert options[0].startswith("-XX:ArchiveClassesAtExit=")
    else:
        assert MAPPED not in run(options, jars)


def test_half_an_archive_is_never_started_from_and_goes_after_an_hour(
    tmp_path: Path, jars: list[Path]
) -> None:
    option = asked(tmp_path, jars)[0]
    part = Path(option.partition("=")[2])
    part.write_bytes(bytes(1000))
    assert "ArchiveClassesAtExit" in asked(tmp_path, jars)[0]
    assert part.exists()
    hour_ago = time.time() - classes.WRITING_SECONDS - 1
    os.utime(part, (hour_ago, hour_ago))
    asked(tmp_path, jars)
    assert not part.exists()


def test_of_many_archives_the_newest_are_kept(tmp_path: Path, jars: list[Path], left: Path) -> None:
    place = tmp_path / "classes"
    place.mkdir()
    for number in range(6):
        (place / f"{number}.3.jsa").write_bytes(b"old")
        os.utime(place / f"{number}.3.jsa", (number, number))
    leave(asked(tmp_path, jars), left)
    asked(tmp_path, jars)
    assert {"3.3.jsa", "4.3.jsa", "5.3.jsa"} < {file.name for file in place.iterdir()}
    assert len(list(place.iterdir())) == classes.KEPT


def test_without_a_place_or_room_for_it_java_starts_as_ever(
    tmp_path: Path, jars: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "classes").write_text("in the way")
    assert asked(tmp_path, jars) == []
    (tmp_path / "classes").unlink()
    full = shutil.disk_usage(tmp_path)._replace(free=classes.ROOM_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    assert asked(tmp_path, jars) == []
