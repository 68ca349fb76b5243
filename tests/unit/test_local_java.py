"""Which Java is taken, and what is said where none fits."""

import os
import shutil
from pathlib import Path

import pytest

from fraudstream.errors import JavaMissing
from fraudstream.local.java import Java, ask, find_java


def fake_java(home: Path, version: str, *, body: str = "") -> Path:
    """A `java` that prints a version as the real ones do, for versions that cannot be installed here."""
    binary = home / "bin" / "java"
    binary.parent.mkdir(parents=True)
    binary.write_text(f"#!/bin/sh\n{body}\necho 'openjdk version \"{version}\" 2024-01-01' >&2\n")
    binary.chmod(0o755)
    return home


@pytest.mark.parametrize(
    ("printed", "major"),
    [("1.8.0_392", 8), ("11.0.22", 11), ("17", 17), ("17.0.15", 17), ("21-ea", 21), ("25.0.1", 25)],
)
def test_every_way_to_write_a_version_is_read(tmp_path: Path, printed: str, major: int) -> None:
    home = fake_java(tmp_path / "jdk", printed)
    assert ask(home / "bin" / "java") == Java(home, major)


def test_java_home_comes_first(tmp_path: Path) -> None:
    chosen, other = fake_java(tmp_path / "a", "21.0.1"), fake_java(tmp_path / "b", "17.0.1")
    environ = {"JAVA_HOME": str(chosen), "PATH": str(other / "bin")}
    assert find_java(environ, ()) == Java(chosen, 21)


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.22", "22.0.1", "25.0.1"])
def test_an_unsuitable_java_is_passed_over_for_a_suitable_one(tmp_path: Path, version: str) -> None:
    fake_java(tmp_path / "jvm" / "good", "17.0.15")
    environ = {"JAVA_HOME": str(fake_java(tmp_path / "bad", version)), "PATH": ""}
    assert find_java(environ, (f"{tmp_path}/jvm/*",)).version == 17


@pytest.mark.parametrize(("version", "major"), [("1.8.0_392", 8), ("25.0.1", 25)])
def test_only_an_unsuitable_java_is_named_with_what_to_install(
    tmp_path: Path, version: str, major: int
) -> None:
    home = fake_java(tmp_path / "jdk", version)
    with pytest.raises(JavaMissing, match=rf"only Java {major} in {home}") as raised:
        find_java({"JAVA_HOME": str(home), "PATH": ""}, ())
    assert "install" in raised.value.hint


def test_no_java_at_all_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(JavaMissing, match=r"^No Java 17 to 21 was found\.$"):
        find_java({"PATH": str(tmp_path)}, ())


@pytest.mark.parametrize("body", ["exit 1", "echo 'The operation could not be completed.' >&2; exit 1"])
def test_a_java_that_does_not_run_is_passed_over(tmp_path: Path, body: str) -> None:
    """Apple ships a /usr/bin/java that only says that there is none."""
    broken = fake_java(tmp_path / "broken", "17.0.1", body=body)
    good = fake_java(tmp_path / "good", "17.0.1")
    assert find_java({"JAVA_HOME": str(broken), "PATH": str(good / "bin")}, ()).home == good


def test_a_file_that_is_no_program_is_passed_over(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "jdk", "17.0.1")
    (home / "bin" / "java").write_bytes(b"\x7fELF nonsense")
    with pytest.raises(JavaMissing):
        find_java({"JAVA_HOME": str(home), "PATH": ""}, ())


def test_a_link_or_wrapper_leads_to_the_home_that_java_itself_names(tmp_path: Path) -> None:
    """Version managers put small scripts on PATH; Spark needs the real JAVA_HOME."""
    real = find_java()
    shim = tmp_path / "shims" / "java"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {real.binary} "$@"\n')
    shim.chmod(0o755)
    assert find_java({"PATH": f"{shim.parent}:/usr/bin:/bin"}, ()) == real


def test_the_javas_of_this_machine_are_told_apart() -> None:
    """Real ones: each is asked, and the unsuitable ones are not taken."""
    homes = [path for path in Path("/usr/lib/jvm").glob("*") if (path / "bin" / "java").exists()]
    if not homes:
        pytest.skip("no Java in /usr/lib/jvm")
    for home in homes:
        java = ask(home / "bin" / "java")
        assert java is not None
        assert java.binary.exists()
        taken = find_java({"JAVA_HOME": str(home), "PATH": ""})
        assert taken.suits
        assert taken == java or not java.suits


@pytest.mark.skipif(shutil.which("java") is None, reason="needs a Java on the path")
def test_options_of_the_environment_that_java_refuses_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It said that there was none, and to install one."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-XX:+UseConcMarkSweepGC")
    with pytest.raises(JavaMissing, match="does not start: Unrecognized VM option") as caught:
        find_java(os.environ, ())
    assert "JAVA_TOOL_OPTIONS of the environment" in caught.value.hint
