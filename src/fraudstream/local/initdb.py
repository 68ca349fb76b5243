"""How a new cluster of the embedded PostgreSQL is created, and its settings."""

from pathlib import Path
from typing import Final

from fraudstream.local.processes import LOOPBACK

AUTH: Final = "scram-sha-256"
"""The server's authentication method, and the only one that clients accept: each side proves that it knows the password.

After a crash another user's program may have the port; clients that accept any method would send it the password in
clear text, or the data without one.
"""
TUNING: Final = {
    # A quarter of a small machine's memory is the usual rule; Spark and Kafka need the rest.
    "shared_buffers": "256MB",
    # Bulk loads write more than the default 1 GB between two checkpoints, and each early checkpoint costs a burst.
    "max_wal_size": "4GB",
    # An embedded server is not replicated; `minimal` also skips the log for tables created in the same transaction.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # So that times can be compared with Kafka's and Spark's.
    "timezone": "UTC",
    "log_timezone": "UTC",
    # TCP on the loopback address only; a socket's path has a length limit that a deep home exceeds.
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
}


def command(programs: Path, directory: Path, owner: str, secret: Path) -> list[str]:
    """The command that creates the cluster in `directory`; `secret` is a file with the password of its `owner`."""
    return [
        *(str(programs / "initdb"), "-D", str(directory), "-U", owner, f"--pwfile={secret}"),
        # The built-in provider sorts by code point like C, fast and the same on every machine, and still
        # handles upper and lower case beyond ASCII.
        *(f"--auth={AUTH}", "-E", "UTF8", "--locale=C", "--locale-provider=builtin"),
        "--builtin-locale=C.UTF-8",
        *(f"--set={name}={value}" for name, value in TUNING.items()),
    ]
