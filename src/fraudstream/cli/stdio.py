"""The standard streams of the program: always open, and with errors of ours if they cannot be written.

Python, Typer and Rich each react in their own way to a closed pipe or a full disk: a traceback, exit code 1 or 120,
or a message from the interpreter. So errors are translated where they arise, below all three.
"""

import io
import os
import select
import sys
from typing import TextIO

from fraudstream.errors import OutputError, ReaderGone
from fraudstream.signals import WHOLE, handle_late


class _Narration(io.FileIO):
    """stderr. Output that cannot be written is dropped: nobody reads it, and the work matters more."""

    def write(self, data: "bytes | memoryview", /) -> int:  # type: ignore[override]
        """Write a part at least, and translate errors. A pipe that does not block is waited for, as one that does.

        A signal does not break it off once something is written: only from the result the stream above knows what not to
        write again.
        """
        handle_late()
        try:
            while (written := super().write(data)) is None:
                select.select((), (self,), ())
        except OSError as error:
            self._tell(error)
            return memoryview(data).nbytes
        return written

    WHOLE.add(write.__code__)

    def _tell(self, error: OSError) -> None:
        """Raise what ends the command, if anything does."""


class _Data(_Narration):
    """stdout. Raises ReaderGone or OutputError, on every write: Typer tests its streams and swallows what that raises."""

    def _tell(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            raise ReaderGone from None
        raise OutputError(error) from None


def prepare() -> None:
    """Open and wrap stdin, stdout and stderr. Call it once, at the very start."""
    _open_closed()
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = _text(_Data(1, "wb", closefd=False), sys.stdout)
    sys.stderr = _text(_Narration(2, "wb", closefd=False), sys.stderr)


def let_go() -> None:
    """Flush stdout, or discard what it holds if that fails: the interpreter's last flush would exit with code 120."""
    try:
        sys.stdout.flush()
    except OutputError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _open_closed() -> None:
    """Open the null device for each of the descriptors 0, 1 and 2 that is closed.

    A file that is opened later would get the number, and our output, or a child's, would be written into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - the lowest free number each time
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _text(raw: io.FileIO, like: TextIO | None) -> io.TextIOWrapper:
    """A text stream over `raw` with the encoding of `like`, which writes whole lines at once if `like` does or under -u.

    Also under -u it has a buffer: without one, what the system does not take of a write is lost, on a full disk silently.
    What the encoding lacks is escaped, as Python does on stderr: it must not fail a command that has done its work.
    """
    if not isinstance(like, io.TextIOWrapper):  # it was closed
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace")
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=like.encoding,
        errors="backslashreplace" if like.errors == "strict" else like.errors,
        line_buffering=like.line_buffering or like.write_through,
    )
