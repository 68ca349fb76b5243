"""Logs: what a command does while it works, on stderr. Data goes to stdout, never through here."""

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
    """The format of the log."""

    TEXT = "text"
    JSON = "json"
    """One object per line: time, level, logger, message, and `error` if there was one."""


def get_logger(name: str) -> logging.Logger:
    """The logger of one module, for example `spark.consumer`."""
    return logging.getLogger(f"{ROOT}.{name}")


def printable(text: str) -> str:
    """An untrusted string, made safe for a terminal by escaping control characters."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def on_one_line(text: str) -> str:
    """The same for a string that must not add a line."""
    return printable(text).replace("\n", "\\n")


class _Line(logging.Formatter):
    """A record as text. A message may quote untrusted text, which must not add a line or move the cursor."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging calls
        record.message = on_one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name that logging calls
        return printable(super().formatException(ei))


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
    """The terminal on stderr, shared by logs and live displays: a log line written past the live display would corrupt it."""
    from rich.console import Console

    return Console(stderr=True)


def is_structured() -> bool:
    """Whether the log is JSON."""
    return log_format() is LogFormat.JSON


def log_format() -> LogFormat:
    """The format in force."""
    structured = any(isinstance(h.formatter, _Object) for h in logging.getLogger(ROOT).handlers)
    return LogFormat.JSON if structured else LogFormat.TEXT


def configure(*, debug: bool = False, quiet: bool = False, log_format: LogFormat = LogFormat.TEXT) -> None:
    """Send the program's log to stderr: plain on a pipe, coloured on a terminal, or as JSON.

    `quiet` keeps only warnings and errors. Messages of libraries, Python's warnings and failed threads are
    included: a machine that reads objects gets no other lines.
    """
    logger = logging.getLogger(ROOT)
    logger.handlers.clear()
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)
    logger.addHandler(_handler(log_format, debug=debug))
    root = logging.getLogger()
    # Only our own handler: a program that uses us as a library may have others.
    for before in [h for h in root.handlers if isinstance(h.formatter, (_Line, _Object))]:
        root.removeHandler(before)
    others = _handler(log_format, debug=debug)
    others.setLevel(logging.WARNING)
    root.addHandler(others)
    logging.captureWarnings(capture=True)
    threading.excepthook = _tell_of_thread


def _tell_of_thread(failure: threading.ExceptHookArgs) -> None:
    """Log an error that ended a thread. Python's own hook prints a long traceback."""
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
