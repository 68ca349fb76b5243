"""What Spark is told about its Python workers: how they talk to Java, and what they do with memory."""

import os
import socket
from pathlib import Path
from typing import Final
from uuid import uuid4

SOCKET_PLACE: Final = 60
"""Bytes of the path of a directory for sockets, at most: Spark refuses a longer one."""
KEEP_FREED: Final = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""For Python's workers: glibc keeps so much memory that they have freed. By default it returns each array of some hundred
kilobytes, and the kernel has to clear the next one again: a sixth of a worker's time."""


def sockets(directory: Path) -> dict[str, str]:
    """Spark's settings with which Java and Python's workers talk through sockets in this directory.

    None, and so TCP, where the directory's path is too long or its file system has no sockets.
    Through TCP each task began 40 ms late: Java waits for an acknowledgement before it sends the next few bytes, and Linux
    delays that. Spark checks no secret on these sockets, so the directory must belong to this user alone; on a cluster
    there is none.
    """
    if len(os.fsencode(directory)) > SOCKET_PLACE:
        return {}
    trial = directory / f".{uuid4()}.sock"
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(trial))
    except OSError:
        return {}
    trial.unlink()
    return {
        "spark.python.unix.domain.socket.enabled": "true",
        "spark.python.unix.domain.socket.dir": str(directory),
    }
