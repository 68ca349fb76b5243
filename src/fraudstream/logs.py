"""Narration: what a command does while it works, on stderr. Data goes to stdout, never through here."""

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

ROOT = "fraudstream"


class LogFormat(StrEnum):
    """How narration is written."""

    TEXT = "text"
    JSON = "json"
    """One object on a line: time, level, logger, message, and `error` where there was one."""


def get_logger(name: str) -> logging.Logger:
    """The logger of one room of the program, for example `spark.consumer`."""
    return logging.getLogger(f"{ROOT}.{name}")


def printable(text: str) -> str:
    """Untrusted text made safe for a terminal: control characters are escaped."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


class _Line(logging.Formatter):
    """A record as text. A message may quote untrusted text: it makes no second line, and moves no cursor."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging calls
        record.message = printable(record.message).replace("\n", "\\n")
        return super().formatMessage(record)


class _Object(logging.Formatter):
    """A record as a JSON object on one line, for machines that collect logs."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        error = getattr(record, "error", None)
        if record.exc_info and record.exc_info[0] is not None:
            kind, value, _ = record.exc_info
            error = {
                "type": kind.__name__,
                "message": str(value),
                "traceback": self.formatException(record.exc_info),
            }
        if error:
            document["error"] = error
        return json.dumps(document, ensure_ascii=False, default=str)


@cache
def console() -> "Console":
    """The terminal on stderr. One for narration and live pictures: a line that knows nothing of a picture would tear it."""
    from rich.console import Console

    return Console(stderr=True)


def is_structured() -> bool:
    """Whether narration is JSON."""
    return log_format() is LogFormat.JSON


def log_format() -> LogFormat:
    """The format in force."""
    structured = any(isinstance(h.formatter, _Object) for h in logging.getLogger(ROOT).handlers)
    return LogFormat.JSON if structured else LogFormat.TEXT


def configure(*, debug: bool = False, quiet: bool = False, log_format: LogFormat = LogFormat.TEXT) -> None:
    """Send the program's narration to stderr: plain on a pipe, coloured on a terminal, or as JSON.

    `quiet` keeps warnings and errors only. What libraries, Python's warnings and threads that failed have to say takes
    the same way: a machine that reads objects meets no other line.
    """
    logger = logging.getLogger(ROOT)
    logger.handlers.clear()
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)
    logger.addHandler(_handler(log_format, debug=debug))
    root = logging.getLogger()
    # Not all of them: whoever runs us as a library may listen, too.
    for before in [h for h in root.handlers if isinstance(h.formatter, (_Line, _Object))]:
        root.removeHandler(before)
    others = _handler(log_format, debug=debug)
    others.setLevel(logging.WARNING)
    root.addHandler(others)
    logging.captureWarnings(capture=True)
    threading.excepthook = _tell_of_thread


def _tell_of_thread(failure: threading.ExceptHookArgs) -> None:
    """A thread ended by an error that nobody waits for. Python's own hook writes it as lines without an end."""
    if failure.exc_type is SystemExit or failure.exc_value is None:
        return
    name = failure.thread.name if failure.thread else "?"
    cause = (failure.exc_type, failure.exc_value, failure.exc_traceback)
    get_logger("threads").error("thread %s failed: %s", name, failure.exc_value, exc_info=cause)


def _handler(log_format: LogFormat, *, debug: bool) -> logging.Handler:
    handler: logging.Handler = logging.StreamHandler()
    if log_format is LogFormat.JSON:
        handler.setFormatter(_Object())
    elif sys.stderr.isatty():
        from rich.logging import RichHandler

        handler = RichHandler(
            console=console(),
            show_path=debug,
            show_level=debug,
            markup=False,
            omit_repeated_times=False,
        )
        handler.setFormatter(_Line("%(message)s"))
    else:
        handler.setFormatter(_Line("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler
