"""The user that PostgreSQL runs as, because it refuses to run as root."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from fraudstream.errors import ServiceError
from fraudstream.local.home import file_lock
from fraudstream.local.processes import as_user

SYSTEM_USER = "fraudstream"
OUTSIDE = Path("/var/lib/fraudstream")
"""For root only: data and binaries that the unprivileged user could not access below /root."""


def service_user(data: Path) -> pwd.struct_passwd | None:
    """The user for a server on `data`; None means the current one. Raises ServiceError.

    As root: the owner of existing data (another user's home, under sudo), else a system user of
    our own. `nobody` would work, but then everything else that runs as nobody could read the cards.
    """
    if os.geteuid() != 0:
        _require_name(os.geteuid())
        return None
    try:
        owner = data.stat().st_uid
        if owner != 0:
            return pwd.getpwuid(owner)
    except (OSError, KeyError):
        pass  # No data yet, or its owner was deleted: our user takes over.
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return _create()


def _require_name(uid: int) -> None:
    """Raise ServiceError for a user without an entry in /etc/passwd, as in some containers: initdb needs its name."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise ServiceError(
            f"PostgreSQL does not run as a user without a name, and user {uid} has none.",
            hint=f"Give it one in the image (`useradd --uid {uid} app`), or run as a user of /etc/passwd.",
        ) from None


def _create() -> pwd.struct_passwd:
    """Create the user, one command at a time.

    If two run concurrently, the second `useradd` recreates the user with another UID, and the first command loses access
    to the files whose owner it has just changed.
    """
    try:
        open_to_all(OUTSIDE)
    except OSError as error:
        raise _not_made(str(error)) from None
    with file_lock(OUTSIDE / "user.lock", f"the user {SYSTEM_USER}"):
        try:
            return pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            return _add()


def _add() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    command += ["--shell", "/usr/sbin/nologin", SYSTEM_USER]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        reason = done.stderr.strip()
    except OSError as error:
        reason = str(error)
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise _not_made(reason) from None


def _not_made(reason: str) -> ServiceError:
    return ServiceError(
        f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} could not be created: {reason}.",
        hint=f"Create it (`adduser --system --group {SYSTEM_USER}`), or run fraudstream as an ordinary user.",
    )


def open_to_all(*directories: Path) -> None:
    """Create directories that every user may traverse, whatever the umask."""
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)


def may_pass(user: pwd.struct_passwd | None, path: Path) -> bool:
    """Whether `user` may enter that directory or run that program, tested by running a command as that user."""
    test = shutil.which("test") or "/usr/bin/test"
    done = subprocess.run([test, "-x", str(path)], cwd="/", check=False, **as_user(user))
    return done.returncode == 0
