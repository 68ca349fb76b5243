"""Tests as a user for whom closed directories are closed: root may enter and write to every one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65_534


@contextmanager
def without_rights() -> Iterator[None]:
    """Run the block without root's rights; import what it needs first, as Python itself may be below /root."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@contextmanager
def closed(directory: Path) -> Iterator[None]:
    """Run the block as a user who may not enter `directory`, which is created."""
    directory.mkdir()
    directory.chmod(0)
    try:
        with without_rights():
            yield
    finally:
        directory.chmod(0o700)
