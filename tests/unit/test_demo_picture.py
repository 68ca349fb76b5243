"""The demo's live picture on a real terminal, as somebody who watches it sees it."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pyte

COLUMNS, LINES = 100, 40
PROGRAM = """
from time import sleep
from fraudstream import logs
from fraudstream.demo.view import Scene, Terminal
from fraudstream.store.glance import Glance

logs.configure()
terminal = Terminal(logs.console())
with terminal.step("Starting Kafka and PostgreSQL", 15):
    logs.get_logger("local").info("word of the services")
with terminal.watching():
    for n in range(1, 6):
        terminal.show(Scene(Glance(n, 0, 5.0, 2000.0, 40.0, 0, 0, 0, 0), [], [], float(n), 58.0, "a forest"))
        sleep(0.3)
        logs.get_logger("consume").info("stored %d rows", n)
"""


def seen(program: str) -> list[str]:
    """The lines on a terminal of this size when the program has ended."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES"}} | {
        "TERM": "xterm-256color"
    }
    with subprocess.Popen(
        [sys.executable, "-c", program], stderr=theirs, stdout=theirs, env=environment
    ) as process:
        os.close(theirs)
        screen = pyte.Screen(COLUMNS, LINES)
        stream = pyte.ByteStream(screen)
        while True:
            try:
                stream.feed(os.read(ours, 1 << 16))
            except OSError:  # the other end is closed: the program has ended
                break
    os.close(ours)
    assert process.returncode == 0, screen.display
    return [line.rstrip() for line in screen.display]


def test_narration_stands_above_the_live_picture_and_does_not_tear_it() -> None:
    shown = seen(PROGRAM)
    text = "\n".join(shown)
    assert sum("fraudstream demo" in line for line in shown) == 1, text
    assert "word of the services" in text
    assert [n for n in range(1, 6) if f"stored {n} rows" in text] == [1, 2, 3, 4, 5]
    assert "decisions  5 (1.0 a second)" in text
    assert "p50 5 ms, p99 2,000 ms (in the last 30 s: 40 ms)" in text
    top = next(n for n, line in enumerate(shown) if "fraudstream demo" in line)
    assert all("stored" not in line for line in shown[top:])
