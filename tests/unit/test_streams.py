"""Standard streams that are closed, full, or read by nobody, as a shell makes them."""

import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from environment import without_settings
from waiting import wait_until

PROGRAM = f"{sys.executable} -m fraudstream"
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")


def shell(command: str, home: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a line of bash in which `fraudstream` is the program; stdin is empty."""
    return subprocess.run(
        ["bash", "-c", f'fraudstream() {{ {PROGRAM} "$@"; }}; {command}'],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, cwd=home,
        env=without_settings() | {"FRAUDSTREAM_HOME": str(home / "home")} | environment,
    )  # fmt: skip


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--version", "config show --json", "config show", "config document"])
def test_a_reader_that_went_away_is_a_quiet_end(command: str, unbuffered: str, tmp_path: Path) -> None:
    """`| true` and `| head` end a command without a word, whatever wrote: a document, a table or an echo."""
    line = f"fraudstream {command} | {{ exec <&-; }}; echo ${{PIPESTATUS[0]}}"
    done = shell(line, tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_an_error_that_nobody_reads_keeps_its_exit_code(tmp_path: Path) -> None:
    line = "fraudstream config show --json | { exec <&-; }; echo ${PIPESTATUS[0]}"
    done = shell(line, tmp_path, FRAUDSTREAM_POSTGRES__PORT="x")
    assert done.stdout == "2\n"
    assert "FRAUDSTREAM_POSTGRES__PORT" in done.stderr


@FULL
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "command", ["--version", "--help", "config show --json", "config show", "produce --dry-run --count 3"]
)
def test_a_full_disk_under_stdout_is_a_sentence(command: str, unbuffered: str, tmp_path: Path) -> None:
    done = shell(f"fraudstream {command} > /dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Standard output cannot be written: No space left on device.\n")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_disk_that_fills_within_a_write_is_a_sentence(unbuffered: str, tmp_path: Path) -> None:
    """The system then writes a part and reports no error; the next write would."""
    line = "ulimit -f 1; fraudstream produce --dry-run --count 30 > decisions"
    # Python would leave cut off bytecode behind.
    done = shell(line, tmp_path, PYTHONUNBUFFERED=unbuffered, PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Standard output cannot be written: File too large.\n")


def is_held_up(program: "subprocess.Popen[bytes]", writing: int) -> bool:
    """Whether a program sleeps and has heard every signal, while its pipe takes nothing more."""
    _, takes, _ = select.select([], [writing], [], 0)
    status = Path(f"/proc/{program.pid}/status")
    heard = not status.exists() or re.search(r"^ShdPnd:\s*0+$", status.read_text(), re.MULTILINE)
    return not takes and bool(heard) and psutil.Process(program.pid).status() == psutil.STATUS_SLEEPING


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_that_does_not_block_and_has_a_slow_reader_gets_every_line(
    unbuffered: str, tmp_path: Path
) -> None:
    """As from a program whose event loop reads our output."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen(
        [sys.executable, "-m", "fraudstream", "produce", "--dry-run", "--count", "2000"],
        stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path,
        env=without_settings() | {"FRAUDSTREAM_HOME": str(tmp_path), "PYTHONUNBUFFERED": unbuffered},
    ) as program, os.fdopen(reading, "rb") as reader:  # fmt: skip
        wait_until(lambda: is_held_up(program, writing), "full pipe")
        os.close(writing)
        lines = reader.read().splitlines()
        complaints = program.communicate(timeout=60)[1]
    assert (program.returncode, b"Traceback" in complaints) == (0, False)
    assert len({json.loads(line)["transaction_id"] for line in lines}) == 2000


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_signal_while_a_slow_reader_holds_up_a_write_costs_no_line(unbuffered: str, tmp_path: Path) -> None:
    """The system then reports how much it has written, which is a part."""
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "fraudstream", "produce", "--dry-run", "--rate", "100000"],
        stdin=subprocess.DEVNULL, stdout=writing, cwd=tmp_path,
        env=without_settings() | {"FRAUDSTREAM_HOME": str(tmp_path), "PYTHONUNBUFFERED": unbuffered},
    ) as program, os.fdopen(reading, "rb") as reader:  # fmt: skip
        wait_until(lambda: is_held_up(program, writing), "full pipe")
        program.terminate()
        wait_until(lambda: is_held_up(program, writing), "program that has heard the signal, and waits on")
        os.close(writing)
        lines = reader.read().splitlines(keepends=True)
    assert program.returncode == 0
    assert all(json.loads(line) for line in lines)
    assert lines[-1].endswith(b"\n")


@FULL
def test_a_full_disk_under_stderr_changes_no_exit_code(tmp_path: Path) -> None:
    assert shell("fraudstream consume everything 2> /dev/full", tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("fraudstream config show --json >&-", 0),
        ("fraudstream config show 2>&-", 0),
        ("fraudstream config show --json >&- 2>&- <&-", 0),
        ("fraudstream produce --dry-run --count 3 >&-", 0),
        ("fraudstream consume everything >&- 2>&-", 2),
    ],
)
def test_a_closed_stream_is_like_one_that_nobody_reads(line: str, code: int, tmp_path: Path) -> None:
    done = shell(line, tmp_path)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr


def test_stdout_still_carries_any_letter_and_arrives_whole(tmp_path: Path) -> None:
    done = shell("fraudstream config show --json", tmp_path, FRAUDSTREAM_KAFKA__SASL_USERNAME="Zoë ☃")
    assert json.loads(done.stdout)["kafka"]["sasl_username"] == "Zoë ☃"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", ["train --help", "produce --scenario list", "config show"])
def test_an_output_encoding_without_our_letters_ends_no_command(
    command: str, encoding: str, tmp_path: Path
) -> None:
    done = shell(f"fraudstream {command}", tmp_path, PYTHONIOENCODING=encoding, COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_letter_that_the_output_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    done = shell(
        "fraudstream config show", tmp_path, PYTHONIOENCODING="ascii", FRAUDSTREAM_POSTGRES__DATABASE="ж"
    )
    assert "\\u0436" in done.stdout
