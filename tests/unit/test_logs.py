"""Narration: lines for people, objects for machines, and nothing in them that a stranger could use."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from environment import without_settings
from fraudstream import logs


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    logger, root = logging.getLogger(logs.ROOT), logging.getLogger()
    before = logger.handlers[:], logger.level, logger.propagate, root.handlers[:], threading.excepthook
    yield
    (
        logger.handlers[:], logger.level, logger.propagate, root.handlers[:], threading.excepthook
    ) = before  # fmt: skip
    logging.captureWarnings(capture=False)


def test_a_line_of_text_stays_one_line_and_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """A message that could not be read is quoted in a warning: it must not forge another one."""
    logs.configure()
    logs.get_logger("test").warning("row 1: %s", "x\n2026-01-01 ERROR forged \x1b[2J\u202e")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(r"WARNING fraudstream.test: row 1: x\n2026-01-01 ERROR forged \x1b[2J\u202e")


def test_a_record_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(log_format=logs.LogFormat.JSON)
    logs.get_logger("test").info("stored %d rows\nof Łódź", 7)
    (line,) = capsys.readouterr().err.splitlines()
    document = json.loads(line)
    assert list(document) == ["time", "level", "logger", "message"]
    assert document["time"].endswith("+00:00")
    assert document["level"] == "info"
    assert document["logger"] == "fraudstream.test"
    assert document["message"] == "stored 7 rows\nof Łódź"


def test_an_exception_stands_in_fields_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(log_format=logs.LogFormat.JSON)
    nothing: dict[str, int] = {}
    try:
        nothing["gone"]
    except KeyError:
        logs.get_logger("test").exception("it failed")
    document = json.loads(capsys.readouterr().err)
    assert document["level"] == "error"
    assert document["error"]["type"] == "KeyError"
    assert document["error"]["message"] == "'gone'"
    assert "test_logs.py" in document["error"]["traceback"]


OTHERS_SPEAK = """
import logging, threading, warnings
from fraudstream import logs
logs.configure(quiet=True, log_format=logs.LogFormat(FORMAT))
logging.getLogger("psycopg").warning("error ignored in rollback")
logging.getLogger("psycopg").info("no news")
warnings.warn("too old")
thread = threading.Thread(target=lambda: {}["gone"], name="keeper")
thread.start()
thread.join()
"""


def test_what_libraries_warnings_and_threads_have_to_say_is_an_object_on_a_line_too() -> None:
    """Whoever collects the lines parses each; a traceback in between would stop that."""
    done = others_speak("json")
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(one["logger"], one["level"]) for one in told] == [
        ("psycopg", "warning"), ("py.warnings", "warning"), ("fraudstream.threads", "error"),
    ]  # fmt: skip
    assert told[0]["message"] == "error ignored in rollback"
    assert "too old" in told[1]["message"]
    assert told[2]["message"] == "thread keeper failed: 'gone'"
    assert told[2]["error"]["type"] == "KeyError"


def test_what_others_have_to_say_is_text_where_text_was_asked_for() -> None:
    said = others_speak("text").stderr
    assert "WARNING psycopg: error ignored in rollback" in said
    # Newer versions of Python also show the line of the program that warned.
    assert said.count("UserWarning: too old") == said.count("Traceback") == 1


def others_speak(log_format: str) -> "subprocess.CompletedProcess[str]":
    script = OTHERS_SPEAK.replace("FORMAT", repr(log_format))
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )


def program(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "fraudstream", *arguments],
        capture_output=True, text=True, timeout=120, check=False, env=without_settings() | environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sources", "in_force"),
    [
        (("", "", ""), "text"),
        (("", "", "FRAUDSTREAM_LOG_FORMAT=json"), "json"),
        (("", "", "export fraudstream_log_format='json'  # for the collector"), "json"),
        (("", "", "# FRAUDSTREAM_LOG_FORMAT=json"), "text"),
        (("", "text", "FRAUDSTREAM_LOG_FORMAT=json"), "text"),
        (("", "json", "FRAUDSTREAM_LOG_FORMAT=text"), "json"),
        (("json", "text", "FRAUDSTREAM_LOG_FORMAT=text"), "json"),
        (("text", "json", "FRAUDSTREAM_LOG_FORMAT=json"), "text"),
    ],
)
def test_a_flag_beats_the_environment_which_beats_the_env_file_and_config_show_says_what_is_in_force(
    sources: tuple[str, str, str], in_force: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag, environment, file = sources
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"{file}\n")
    options = ("--log-format", flag) if flag else ()
    given = {"FRAUDSTREAM_HOME": str(tmp_path), "FRAUDSTREAM_LOG_FORMAT": environment}
    shown = program(*options, "config", "show", "--json", **given)
    assert json.loads(shown.stdout)["log_format"] == in_force
    failed = program(*options, "config", "show", **given, FRAUDSTREAM_KAFKA__PARTITIONS="x")
    assert failed.returncode == 2
    assert failed.stderr.startswith("{") is (in_force == "json")


def test_a_format_in_the_env_file_that_does_not_exist_is_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("FRAUDSTREAM_LOG_FORMAT=xml\n")
    done = program("alerts", "list", "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (2, "settings")
    assert error["message"] == "FRAUDSTREAM_LOG_FORMAT is neither text nor json."
    assert ".env" in error["hint"]


@pytest.mark.parametrize("by_option", [True, False])
def test_an_error_of_a_command_is_an_object_with_its_hint_and_code(by_option: bool, tmp_path: str) -> None:
    """And a password that is wrong is in none of it."""
    options = ("--log-format", "json") if by_option else ()
    environment = {
        "FRAUDSTREAM_HOME": str(tmp_path),
        "FRAUDSTREAM_POSTGRES__HOST": "127.0.0.1",
        "FRAUDSTREAM_POSTGRES__PORT": "9",
        "FRAUDSTREAM_POSTGRES__PASSWORD": "hush-hush",
    }
    if not by_option:
        environment["FRAUDSTREAM_LOG_FORMAT"] = "json"
    done = program(*options, "alerts", "list", **environment)
    assert (done.returncode, done.stdout) == (1, "")
    document = json.loads(done.stderr)
    assert document["level"] == "error"
    assert document["error"]["code"] == "database_unreachable"
    assert "fraudstream up" in document["error"]["hint"]
    assert document["message"] == document["error"]["message"]
    assert "hush-hush" not in done.stderr


def test_the_traceback_of_debug_is_an_object_too(tmp_path: str) -> None:
    environment = {"FRAUDSTREAM_HOME": str(tmp_path), "FRAUDSTREAM_POSTGRES__HOST": "127.0.0.1"}
    done = program(
        "--debug", "--log-format", "json", "alerts", "list", FRAUDSTREAM_POSTGRES__PORT="9", **environment
    )
    *before, last = [json.loads(line) for line in done.stderr.splitlines()]
    assert "Traceback" in before[-1]["error"]["traceback"]
    assert last["error"]["code"] == "database_unreachable"


def test_a_format_that_does_not_exist_is_wrong_use() -> None:
    done = program("alerts", "list", FRAUDSTREAM_LOG_FORMAT="xml")
    assert done.returncode == 2
    assert "'xml' is not one of 'text', 'json'" in done.stderr
