"""Under which user PostgreSQL runs, as it refuses to run as root."""

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
"""For root only: data and binaries that the unprivileged user could not reach below /root."""


def service_user(data: Path) -> pwd.struct_passwd | None:
    """The user for a server on `data`; None means ours. Raises ServiceError.

    As root: the owner of data that exists (another user's home, served by sudo), else a system user of
    our own. `nobody` would do, but everything else that runs as nobody could then read the cards.
    """
    if os.geteuid() != 0:
        _require_name(os.geteuid())
        return None
    try:
        owner = data.stat().st_uid
        if owner != 0:
            return pwd.getpwuid(owner)
    except (OSError, KeyError):
        pass  # No data yet, or of a user who was deleted: ours takes it.
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return _create()


def _require_name(uid: int) -> None:
    """Refuse a user without an entry in /etc/passwd, as a container may have: initdb asks for its name."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise ServiceError(
            f"PostgreSQL does not run under a user without a name, and user {uid} has none.",
            hint=f"Give it one in the image (`useradd --uid {uid} app`), or run as a user of /etc/passwd.",
        ) from None


def _create() -> pwd.struct_passwd:
    """Make the user, one command at a time.

    Of two at once `useradd` lets the second write the user anew with another number, and the first loses the files
    that it has just given away.
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
        f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} could not be made: {reason}.",
        hint=f"Create it (`adduser --system --group {SYSTEM_USER}`), or run fraudstream as an ordinary user.",
    )


def open_to_all(*directories: Path) -> None:
    """Make directories that every user may pass, also where the umask would say no."""
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)


def may_pass(user: pwd.struct_passwd | None, path: Path) -> bool:
    """Whether `user` may enter that directory or run that program. The kernel answers, as that user."""
    test = shutil.which("test") or "/usr/bin/test"
    done = subprocess.run([test, "-x", str(path)], cwd="/", check=False, **as_user(user))
    return done.returncode == 0
