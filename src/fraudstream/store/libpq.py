"""What libpq, the driver below psycopg, reads of the environment by itself: variables that somebody set for psql."""

import os

OVERRULING = ("PGHOSTADDR", "PGTZ", "PGDATESTYLE", "PGGEQO", "PGSERVICE")
"""Those that win over the host and the session that a program asks for: libpq connects to the first, whatever the host is,
the server applies the next ones after `options`, and a service that no file defines ends each connection. The rest only
count where the program says nothing."""


def leave_the_shell_out() -> None:
    """Remove them from this process: libpq reads its environment itself, so there is no other way to leave them out."""
    for name in OVERRULING:
        os.environ.pop(name, None)
