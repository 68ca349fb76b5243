"""Ctrl-C and SIGTERM end a command, at whatever step they find it."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from waiting import wait_until

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


WHILE_IT_WRITES = """
import itertools, os, signal, threading
from fraudstream.cli import stdio
from fraudstream.signals import interrupt
from fraudstream.signals import heard

told = os.fdopen(os.dup(1), "w")
reader, writer = os.pipe()
os.dup2(writer, 1)
os.close(writer)
stdio.prepare()
main, read, busy = threading.get_ident(), [], threading.Event()

def look():
    for line in open(reader):
        read.append(line)
        if busy.is_set():
            busy.clear()
            signal.pthread_kill(main, signal.SIGINT)  # as whoever presses Ctrl-C at the sight of a line

threading.Thread(target=look, daemon=True).start()
numbers, interrupted = itertools.count(), 0
for _ in range(300):
    try:
        with heard(interrupt):
            busy.set()
            for number in numbers:
                print(number, flush=True)
    except KeyboardInterrupt:
        interrupted += 1
print("end", flush=True)
while read[-1:] != ["end\\n"]: pass
print(interrupted, len(read) - len(set(read)), file=told, flush=True)
os._exit(0)
"""


def test_a_signal_while_a_line_is_written_does_not_write_it_twice() -> None:
    """The stream did not know yet that the system had taken the line, and wrote it again when the command ended."""
    done = subprocess.run(
        [sys.executable, "-c", WHILE_IT_WRITES], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "300 0\n", done.stderr


AT_THE_END = """
import os, signal, threading
from fraudstream.signals import interrupt
from fraudstream.signals import WHOLE, heard, stopping

def whole():
    os.kill(os.getpid(), signal.SIGTERM)

WHOLE.add(whole.__code__)
try:
    with heard(interrupt):
        whole()
    print("lost")
except KeyboardInterrupt:
    print("ended")

stop = threading.Event()
with stopping(stop):  # which takes a second signal as impatience
    whole()
    assert stop.wait(10)
    threading.Event().wait(0.1)
print("once")
"""


def test_a_signal_that_had_to_wait_is_neither_lost_at_the_end_of_a_block_nor_heard_twice() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "ended\nonce\n", done.stderr


IN_A_HANDLER = """
import os, signal
from fraudstream import signals

def handler(number, frame):
    raise signals.Interrupt

class Late(set):
    def add(self, number):
        super().add(number)
        if number == signal.SIGINT:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000): pass  # it is handled here

signals._late = Late()

def whole():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000): pass
    print("whole")

signals.WHOLE.add(whole.__code__)
try:
    with signals.heard(handler):
        whole()
except KeyboardInterrupt:
    print("ended")
os._exit(0)
"""


def test_a_signal_that_comes_while_another_one_waits_breaks_nothing_off_either() -> None:
    """On a busy machine the same one comes again before its handler is through."""
    done = subprocess.run(
        [sys.executable, "-u", "-c", IN_A_HANDLER], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "whole\nended\n", done.stderr


WHILE_NOBODY_READS = """
import sys
from fraudstream.cli import stdio
from fraudstream.signals import interrupt
from fraudstream.signals import heard

stdio.prepare()
with heard(interrupt):
    print("begins", file=sys.stderr, flush=True)
    try:
        while True: print("x" * 10_000, flush=True)
    except KeyboardInterrupt:
        print("ended", file=sys.stderr, flush=True)
"""


def test_a_signal_ends_a_command_whose_output_nobody_reads() -> None:
    """It waits in the system for room in the pipe, for ever."""
    command = [sys.executable, "-c", WHILE_NOBODY_READS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "begins\n"
        state = psutil.Process(process.pid)
        wait_until(lambda: state.status() == psutil.STATUS_SLEEPING, "wait for a reader")
        process.send_signal(signal.SIGINT)
        late = threading.Timer(60, process.kill)
        late.start()
        said = process.stderr.readline()
        late.cancel()
        process.kill()
    assert said == "ended\n"
