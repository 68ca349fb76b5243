"""Commands as the program runs them, in this process, and what they print."""

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from fraudstream.cli.main import run


@contextlib.contextmanager
def _logs_as_before() -> Iterator[None]:
    """Take back what a command sets up for its whole process. `conftest` does so for our own logger."""
    root = logging.getLogger()
    handlers, hook = [*root.handlers], threading.excepthook
    try:
        yield
    finally:
        root.handlers, threading.excepthook = handlers, hook
        logging.captureWarnings(capture=False)


def in_process(
    arguments: tuple[str, ...], environment: Mapping[str, str], place: Path, given: str
) -> "subprocess.CompletedProcess[str]":
    """The result of a command without the half a second that each start of the program takes.

    Its variables are `environment` and no others, `place` is its directory, and `given` what it reads.
    """
    stdin, out, err = (io.TextIOWrapper(io.BytesIO(part), "utf-8") for part in (given.encode(), b"", b""))
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        contextlib.chdir(place),
        mock.patch.object(sys, "stdin", stdin),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _logs_as_before(),
    ):
        code = int(run([*arguments]))
    texts = []
    for stream in (out, err):
        stream.seek(0)
        texts.append(stream.read())
    return subprocess.CompletedProcess(arguments, code, *texts)


def printed(done: "subprocess.CompletedProcess[str]") -> str:
    """What a command printed that did what it was asked for; all that it said, if it did not."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answered(done: "subprocess.CompletedProcess[str]") -> Any:
    """The same, as the JSON that it is."""
    return json.loads(printed(done))
