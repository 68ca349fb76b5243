"""Files that a command writes: whether it may, asked before its work, and what is said when it cannot."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fraudstream.errors import InputError


def check_writable(path: Path, option: str, *, replaced: bool) -> None:
    """Raise InputError if no file could be written to `path`, which `option` gave, before work is done in vain.

    One that is `replaced` needs a directory that may be written to; otherwise a file that may be written to is enough.
    """
    place, why = path.absolute().parent, ""
    with writing(path, option):
        if path.is_dir():
            why = "it is a directory"
        elif not place.is_dir():
            why = "its directory does not exist"
        elif path.exists() and not replaced:
            why = "" if os.access(path, os.W_OK) else "you may not write to it"
        elif not os.access(place, os.W_OK | os.X_OK):
            why = "you may not write to its directory"
    if why:
        raise unwritable(path, option, why)


@contextmanager
def writing(path: Path, option: str) -> Iterator[None]:
    """Translate system errors inside into an InputError that names `path`. Never use it around the caller's block."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, option, error) from None


def unwritable(path: Path, option: str, why: object) -> InputError:
    """The error for a file or directory, which `option` gave, that cannot be written."""
    return InputError(f"{path} cannot be written: {why}.", hint=f"Give another {option}.")
