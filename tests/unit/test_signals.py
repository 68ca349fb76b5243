"""Ctrl-C and SIGTERM end a command, at whatever step they find it."""

import subprocess
import sys
from pathlib import Path

import pytest

WHILE_IT_LOOKS = """
import os, signal, threading
from fraudstream.signals import stop_on_signals, stopping
{prepare}
with {call} as given:
    stop = given or stop
    with stop._cond:  # as the main thread holds it for a moment in every `stop.wait(0.1)`
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000): pass  # the handler runs here
    assert stop.wait(10)
print("ended")
"""


@pytest.mark.parametrize(
    ("prepare", "call"),
    [
        ("stop = None", "stop_on_signals()"),
        ("stop = threading.Event()", "stopping(stop)"),
    ],
)
def test_a_signal_ends_a_command_that_looks_at_its_event_at_that_moment(prepare: str, call: str) -> None:
    """The handler runs inside the main thread: waiting for a lock that this thread holds would last for ever."""
    program = WHILE_IT_LOOKS.format(prepare=prepare, call=call)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "ended\n", done.stderr


WHILE_IT_IMPORTS = """
from fraudstream.cli import main

# What `import dataclasses` does for every class: text becomes code.
main._obey = lambda _: exec("import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(10)")
main.main()
"""


def test_a_signal_while_a_command_loads_its_modules_is_exit_code_130(tmp_path: Path) -> None:
    """And not a death by SIGINT, which the interpreter would die where text that became code was interrupted."""
    (tmp_path / "program.py").write_text(WHILE_IT_IMPORTS)
    done = subprocess.run([sys.executable, "-m", "program"], cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 130
