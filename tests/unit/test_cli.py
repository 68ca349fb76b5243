"""The program as a shell sees it: help, exit codes, errors in two shapes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from environment import without_settings
from fraudstream.cli.main import run
from fraudstream.local import binaries, users

HEAVY = (
    "pyspark",
    "sklearn",
    "pandas",
    "pyarrow",
    "numpy",
    "confluent_kafka",
    "faker",
    "psycopg",
    "sqlalchemy",
    "streamlit",
    "altair",
)


def fraudstream(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the program as a user would, with no setting of the one who runs the tests."""
    return subprocess.run(
        [sys.executable, "-m", "fraudstream", *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, env=without_settings() | environment,
    )  # fmt: skip


def commands() -> list[tuple[str, ...]]:
    """Every command of the program, groups included."""
    import typer.main

    from fraudstream.cli.main import app

    found: list[tuple[str, ...]] = [()]
    pending: list[tuple[tuple[str, ...], object]] = [((), typer.main.get_command(app))]
    while pending:
        path, command = pending.pop()
        for name, inner in getattr(command, "commands", {}).items():
            found.append((*path, name))
            pending.append(((*path, name), inner))
    return sorted(found)


def test_help_loads_nothing_heavy() -> None:
    """`--help` of every command answers at once, as it loads no Spark, no Kafka client and no data library."""
    probe = (
        "import sys, fraudstream.cli.main as m\n"
        f"for command in {commands()!r}:\n"
        "    code = m.run([*command, '--help'])\n"
        f"    heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    if code or heavy: sys.exit(f'{command} ended with {code} and loaded {heavy}')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    for command in commands():
        assert f"Usage: {' '.join(['fraudstream', *command])} " in result.stdout


def test_every_command_says_what_it_does() -> None:
    import typer.main

    from fraudstream.cli.main import app

    pending: list[object] = [typer.main.get_command(app)]
    while pending:
        command = pending.pop()
        assert getattr(command, "help", None), f"{command} has no help"
        pending += getattr(command, "commands", {}).values()


@pytest.mark.parametrize(
    ("command", "default"),
    [
        (("produce",), "100; max for a file and for a dry run"),
        (("produce",), "now, less --days; in a dry run 2025-01-01"),
        (("score",), "the champion"),
        (("rules", "check"), "the file that FRAUDSTREAM_SCORE__RULES names"),
    ],
)
def test_help_says_what_happens_without_an_option(command: tuple[str, ...], default: str) -> None:
    """Also where that depends: a default in brackets inside the help's own text is taken for markup and vanishes."""
    assert f"[default: ({default})]" in fraudstream(*command, "--help", COLUMNS="250").stdout


@pytest.mark.parametrize("target", ["transactions", "fraud"])
def test_consume_spelled_as_one_word_means_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    from fraudstream.spark import consume
    from fraudstream.spark.consumer import Summary

    asked: list[object] = []

    def run_consumer(*given: object, **options: object) -> Summary:
        asked.append((given, options))
        return Summary(targets=(target,))

    monkeypatch.setattr(consume, "run_consumer", run_consumer)
    options = ("--once", "--topic", "t", "--bootstrap-servers", "k:1", "--metrics-port", "1", "--accept-loss")
    said = []
    for words in (("consume", target), (f"consume-{target}",)):
        assert run([*words, *options, "--json"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != ""
    assert asked[0] == asked[1]


def test_a_wrong_command_line_is_exit_code_2_and_a_next_step() -> None:
    result = fraudstream("consume", "everything")
    assert (result.returncode, result.stdout) == (2, "")
    assert "'everything' is not one of" in result.stderr
    assert "`fraudstream consume --help`" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("produce", "--dry-run"),
        ("score", "--data", "payments.csv"),
        ("score", "--data", "-"),
        ("health", "--metrics-port", "0"),
    ],
)
def test_a_report_where_there_is_no_room_for_one_is_refused(arguments: tuple[str, ...]) -> None:
    """Silence would look like obedience: one document is what --json promises."""
    done = fraudstream(*arguments, "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (2, "usage")
    assert "--json" in error["message"]
    assert "eave" in error["hint"]


def test_errors_are_json_on_stdout_where_json_was_asked_for(tmp_path: Path) -> None:
    result = fraudstream(
        "consume", "--once", "--json", FRAUDSTREAM_HOME=str(tmp_path), FRAUDSTREAM_KAFKA__PARTITIONS="x"
    )
    assert result.returncode == 2
    error = json.loads(result.stdout)["error"]
    assert error["code"] == "settings"
    assert "FRAUDSTREAM_KAFKA__PARTITIONS" in error["message"]
    assert error["hint"]
    assert "Traceback" not in result.stderr


def test_debug_adds_the_traceback_and_changes_nothing_else(tmp_path: Path) -> None:
    wrong = {"FRAUDSTREAM_HOME": str(tmp_path), "FRAUDSTREAM_POSTGRES__PORT": "x"}
    usual = fraudstream("config", "show", "--json", **wrong)
    result = fraudstream("--debug", "config", "show", "--json", **wrong)
    assert "Traceback" in result.stderr
    assert (result.returncode, result.stdout) == (usual.returncode, usual.stdout) == (2, usual.stdout)
    assert json.loads(result.stdout)["error"]["code"] == "settings"


def test_a_traceback_does_not_move_the_cursor(tmp_path: Path) -> None:
    """An error may quote what a stranger wrote, such as the manifest of a model."""
    model = tmp_path / "\x1b]0;owned\x07"
    result = fraudstream("--debug", "score", "--data", "payments.csv", "--model", str(model))
    assert "Traceback" in result.stderr
    assert "owned" in result.stderr
    assert "\x1b" not in result.stderr


def test_a_question_that_nobody_can_answer_is_wrong_use(tmp_path: Path) -> None:
    """A script learns what to write instead; Ctrl-C stays an interruption."""
    result = fraudstream("reset", "--json", FRAUDSTREAM_HOME=str(tmp_path))
    error = json.loads(result.stdout)["error"]
    assert (result.returncode, error["code"]) == (2, "usage")
    assert error["message"].startswith("Nothing was deleted")
    assert "--yes" in error["hint"]
    assert fraudstream("reset", FRAUDSTREAM_HOME=str(tmp_path)).returncode == 2


def test_reset_says_what_it_leaves_on_the_disk_and_where(tmp_path: Path) -> None:
    """Jars can be downloaded and archives of Java's classes made again, but together they are hundreds of megabytes."""
    archive = tmp_path / "jars" / "classes" / "spark.3000000.jsa"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(bytes(3_000_000))
    where = {"FRAUDSTREAM_HOME": str(tmp_path)}
    said = fraudstream("reset", "--yes", **where).stdout
    assert f"Kept: {tmp_path}/jars (3 MB), the jars and the archives of Java classes" in said
    assert archive.exists()
    document = json.loads(fraudstream("reset", "--yes", "--json", **where).stdout)
    assert (document["stopped"], document["deleted"], document["kept"][0]) == ([], True, f"{tmp_path}/jars")
    archive.unlink()
    said = fraudstream("reset", "--yes", **where).stdout
    assert said.splitlines()[:2] == ["Nothing was running.", "All data is deleted."]
    assert str(tmp_path) not in said


def test_reset_says_the_same_of_what_it_leaves_with_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It named the jars alone, and not the copies of PostgreSQL's programs outside of root's home."""
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "spark.jar").write_bytes(bytes(10))
    (tmp_path / "copies" / f"{binaries.COPY}-1").mkdir(parents=True)
    monkeypatch.setattr(users, "OUTSIDE", tmp_path / "copies")
    monkeypatch.setenv("FRAUDSTREAM_HOME", str(tmp_path))
    monkeypatch.delenv("FRAUDSTREAM_JARS", raising=False)
    kept = [str(tmp_path / "jars"), str(tmp_path / "copies" / f"{binaries.COPY}-1")]
    assert run(["reset", "--yes"]) == 0
    said = capsys.readouterr().out
    assert all(f"Kept: {path} (" in said for path in kept)
    assert run(["reset", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == kept


def test_config_show_masks_secrets(tmp_path: Path) -> None:
    environment = {"FRAUDSTREAM_HOME": str(tmp_path), "FRAUDSTREAM_POSTGRES__PASSWORD": "hush-hush"}
    for arguments in (("config", "show"), ("config", "show", "--json")):
        result = fraudstream(*arguments, **environment)
        assert result.returncode == 0, result.stderr
        assert "hush-hush" not in result.stdout + result.stderr
        assert "***" in result.stdout


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert fraudstream("--version").stdout == f"fraudstream {version('fraudstream')}\n"


@pytest.mark.parametrize("name", ["a[b]c", "a[/b]c"])
def test_a_home_with_brackets_in_its_path_is_named_as_it_is(name: str, tmp_path: Path) -> None:
    """They were taken for markup: left out, or an error that was called a bug."""
    done = fraudstream("status", FRAUDSTREAM_HOME=str(tmp_path / name), COLUMNS="300")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Services in {tmp_path / name}" in done.stdout
