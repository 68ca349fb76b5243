"""Where the embedded PostgreSQL keeps its data: in the home, or outside if the server's user cannot enter root's home.

The home remembers the directory outside, and that one names its home: a home may be moved, copied, or be reached through
a link, and two homes must never share data, nor lose theirs.
"""

import os
import secrets
from pathlib import Path

from fraudstream.local import users
from fraudstream.local.home import Home, delete, make, unusable, write_private
from fraudstream.logs import get_logger

log = get_logger("local.postgres")

_CLAIM = "home"
"""The file beside the data that names the home."""


def directory(home: Home) -> Path:
    """The directory that contains `data`, and belongs to the user that PostgreSQL runs as."""
    return outside(home) if home.remembered("postgres").get("outside") else home.postgres


def outside(home: Home) -> Path:
    """The directory for data that cannot be in the home."""
    key: str = home.remembered("postgres").get("key", home.key)
    return users.OUTSIDE / key / "postgres"


def settle(home: Home) -> Path:
    """Choose, once, the directory of the data, and create it. Raises ServiceError."""
    known, is_copy = home.remembered("postgres"), _is_of_another(home)
    place, key = directory(home), secrets.token_hex(6) if is_copy else known.get("key", home.key)
    try:
        if "outside" not in known or not place.exists() or (known["outside"] and is_copy):
            place = home.postgres
            user = users.service_user(place)
            if user is not None and not users.may_pass(user, home.root):
                place = users.OUTSIDE / key / "postgres"
                users.open_to_all(users.OUTSIDE, place.parent)
                log.info("%s is not accessible to the user %s.", home.root, user.pw_name)
                log.info("PostgreSQL's data is in %s instead.", place)
            make(place)
            if user is not None:
                os.chown(place, user.pw_uid, user.pw_gid)
    except OSError as error:
        raise unusable(place, error) from None
    if place == home.postgres:
        home.remember("postgres", outside=False)
    else:
        home.remember("postgres", outside=True, key=key)
        write_private(place.parent / _CLAIM, str(home.root))
    return place


def remove(home: Home) -> None:
    """Delete the data, even if the home no longer knows its directory. Raises OSError."""
    home.remove("postgres")
    place = outside(home)
    if place.parent.exists() and not _is_of_another(home):
        if place.exists():
            delete(place)
        (place.parent / _CLAIM).unlink(missing_ok=True)
        place.parent.rmdir()


def _is_of_another(home: Home) -> bool:
    """Whether the directory outside is used by another home that exists, of which this one is a copy."""
    try:
        other = Home(Path((outside(home).parent / _CLAIM).read_text(encoding="utf-8")))
        return directory(other) == outside(home) and not other.root.samefile(home.root)
    except (OSError, ValueError):
        return False  # it was moved here, or the directory is older than its claim
