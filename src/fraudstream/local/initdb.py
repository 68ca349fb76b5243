"""How a new cluster of the embedded PostgreSQL is made, and the settings that it begins with."""

from pathlib import Path
from typing import Final

from fraudstream.local.processes import LOOPBACK

AUTH: Final = "scram-sha-256"
"""How the server lets clients in, and all that they accept: each side proves that it knows the password.

After a crash another user's program may have the port; clients that do as they are told would send it the password in
clear text, or the data without one.
"""
TUNING: Final = {
    # A quarter of a small machine's memory is the usual rule; Spark and Kafka want the rest.
    "shared_buffers": "256MB",
    # Bulk loads write more than the default 1 GB between two checkpoints, and each early one costs a burst.
    "max_wal_size": "4GB",
    # Nobody replicates an embedded server; minimal also skips the log for tables made in the same transaction.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Times that people compare with Kafka's and Spark's.
    "timezone": "UTC",
    "log_timezone": "UTC",
    # TCP on the loopback address only; a socket's path has a length limit that a deep home exceeds.
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
}


def command(programs: Path, directory: Path, owner: str, secret: Path) -> list[str]:
    """What makes the cluster in `directory`; `secret` is a file with the password of its `owner`."""
    return [
        *(str(programs / "initdb"), "-D", str(directory), "-U", owner, f"--pwfile={secret}"),
        # The built-in provider sorts by code point like C, quick and the same on every machine, and still
        # knows upper and lower case beyond ASCII.
        *(f"--auth={AUTH}", "-E", "UTF8", "--locale=C", "--locale-provider=builtin"),
        "--builtin-locale=C.UTF-8",
        *(f"--set={name}={value}" for name, value in TUNING.items()),
    ]
