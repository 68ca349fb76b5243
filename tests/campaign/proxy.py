"""A wire between the commands and PostgreSQL: it can be cut, slowed, or fall silent while it stays open."""

import socket
import threading
import time
from contextlib import suppress

CHUNK = 1 << 16


class Proxy:
    """Forwards connections to `target`; `port` is where it listens, on loopback."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._server.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._flows = threading.Event()
        self._flows.set()
        self._refuses = False
        self._delay = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection, and refuse new ones until `mend`."""
        self._refuses = True
        for connection in list(self._open):
            self._close(connection)

    def silence(self) -> None:
        """Hold everything back, until `mend`: to both ends the line is up and nobody speaks."""
        self._flows.clear()

    def slow(self, seconds: float) -> None:
        """Every packet takes so much longer, until `mend`."""
        self._delay = seconds

    def mend(self) -> None:
        """Be a good wire again."""
        self._refuses, self._delay = False, 0.0
        self._flows.set()

    def close(self) -> None:
        """Stop listening, and drop what is open."""
        self._server.close()
        self.cut()
        self._flows.set()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:  # closed: the campaign is over
                return
            if self._refuses:
                near.close()
                continue
            try:
                far = socket.create_connection(self._target, 10)
            except OSError:  # PostgreSQL is down: the caller sees a broken connection, as without a proxy
                near.close()
                continue
            far.settimeout(None)
            self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                self._flows.wait()
                time.sleep(self._delay)
                sink.sendall(data)
        self._close(source)
        self._close(sink)

    def _close(self, connection: socket.socket) -> None:
        self._open.discard(connection)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
