"""A line to a real server that a test may cut and join again: the network that goes away, not the server."""

import contextlib
import socket
import threading
from collections.abc import Iterator


class Forwarder:
    """Listens on a port of its own and passes everything on to another one of this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open: set[socket.socket] = set()
        self.port = 0
        self.join()

    def join(self) -> None:
        """Listen, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Break every connection, and refuse new ones."""
        close(self._listener)
        for end in [*self._open]:
            close(end)
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener is closed: the line is cut
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=pass_on, args=(source, sink), daemon=True).start()


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Until either side ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    close(sink)


def close(end: socket.socket) -> None:
    """Also for a thread that reads from it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextlib.contextmanager
def forwarded(target: int) -> Iterator[Forwarder]:
    """A forwarder for the time of the block."""
    line = Forwarder(target)
    try:
        yield line
    finally:
        line.cut()
