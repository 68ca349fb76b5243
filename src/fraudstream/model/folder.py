"""A model's files in a directory: replaced completely or not at all, and never over anything else."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fraudstream.errors import InputError
from fraudstream.model.artifact import FILES, MANIFEST, MOST_BYTES, SUMS, Model, covered, verified
from fraudstream.outputs import unwritable, writing

OPTION = "--output"
"""The option that names a directory, for messages."""


def check_target(directory: Path) -> None:
    """Raise InputError if `directory` could not be written, or exists and is not a model that may be replaced."""
    with writing(directory, OPTION):
        _refuse_foreign(directory)
        # It is replaced as a whole, so what counts is where it is.
        place = next(parent for parent in directory.absolute().parents if parent.exists())
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise unwritable(directory, OPTION, f"{place} is not a directory that you may write to")


def _refuse_foreign(directory: Path) -> None:
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise InputError(f"{directory} is not a directory.", hint="Give another --output.")
    if directory.absolute().is_mount():
        raise InputError(
            f"{directory} is a mount point, which cannot be replaced.",
            hint="Give a directory inside it as --output.",
        )
    found = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    # By fixed names, not those in its SHA256SUMS: a release or a data set has one too, and would be deleted.
    foreign = sorted(found - FILES if found >= {MANIFEST, SUMS} else found)
    if foreign:
        raise InputError(
            f"{directory} contains files that are not part of a model ({', '.join(foreign[:3])}); nothing was written.",
            hint="Give an empty or new directory as --output.",
        )


def write(files: Mapping[str, bytes], directory: Path) -> None:
    """Write the files to `directory`, replacing an earlier model; it contains the old or the new, never a mixture.

    Raises InputError if the directory contains something else or cannot be written.
    """
    check_target(directory)
    directory = directory.absolute()
    with writing(directory, OPTION):
        directory.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            fresh.chmod(0o755)  # mkdtemp sets 0700, but other users' scorers read models
            for name, content in files.items():
                with (fresh / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            _swap(fresh, directory)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, directory: Path) -> None:
    """Rename `fresh` to `directory`; an existing one is moved aside first and restored if that fails."""
    if not directory.exists() or not any(directory.iterdir()):
        fresh.rename(directory)  # POSIX also replaces an empty directory
        return
    aside = fresh.with_name(fresh.name + "-old")
    directory.rename(aside)
    try:
        fresh.rename(directory)
    except OSError:
        aside.rename(directory)
        raise
    shutil.rmtree(aside)


def read(directory: Path) -> Model:
    """The model at `directory`. Raises InputError if it is not a model, altered, or not for this version."""
    try:
        named = covered((directory / SUMS).read_bytes()) | {SUMS} if (directory / SUMS).is_file() else set()
        # Symbolic links to files are allowed, as in mounted volumes; a device or a pipe might never end.
        found = [path for path in directory.iterdir() if path.name in named and path.is_file()]
        if sum(path.stat().st_size for path in found) > MOST_BYTES:
            raise InputError(f"{directory} is larger than any valid model.")
        files = {path.name: path.read_bytes() for path in found}
    except FileNotFoundError:
        raise InputError(f"There is no model at {directory}.", hint="Check the path.") from None
    except OSError as error:
        raise InputError(f"{directory} cannot be read: {error}.", hint="Check the path.") from None
    return verified(files, str(directory))
