"""What Spark is told about its Python workers; tests/spark/test_workers.py looks at them."""

import tempfile
from pathlib import Path

from fraudstream.spark import workers


def test_where_no_socket_can_be_opened_java_and_its_workers_have_ports_instead() -> None:
    """The temporary directory may be anywhere."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        longest = Path(short, "x" * (workers.SOCKET_PLACE - len(short) - 1))
        too_long, missing = Path(f"{longest}x"), Path(short, "missing")
        longest.mkdir()
        too_long.mkdir()
        told = workers.sockets(longest)
        assert told["spark.python.unix.domain.socket.dir"] == str(longest)
        assert not list(longest.iterdir())
        assert workers.sockets(too_long) == workers.sockets(missing) == {}
