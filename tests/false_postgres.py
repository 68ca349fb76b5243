"""A program that took PostgreSQL's port before it: it speaks the protocol, and knows no password."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

ENCRYPTION = (80877103, 80877104)
"""What a client asks before its first message: for TLS, for GSSAPI."""
CLEARTEXT = b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big")
"""AuthenticationCleartextPassword."""
WELCOME = b"R" + (8).to_bytes(4, "big") + bytes(4) + b"Z" + (5).to_bytes(4, "big") + b"I"
"""AuthenticationOk and ReadyForQuery: everybody may come in."""


@dataclass(slots=True)
class FalsePostgres:
    """Its port, and every byte that clients sent to it."""

    port: int
    heard: bytes = b""


@contextmanager
def false_postgres(answer: bytes) -> Iterator[FalsePostgres]:
    """One that listens on the loopback address and answers each login with `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        false = FalsePostgres(listener.getsockname()[1])
        threading.Thread(target=_serve, args=(listener, false, answer), daemon=True).start()
        yield false


def _serve(listener: socket.socket, false: FalsePostgres, answer: bytes) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # the test is over
            return
        with client:
            while words := client.recv(65_536):
                false.heard += words
                asked = int.from_bytes(words[4:8], "big") if len(words) == 8 else 0
                client.sendall(b"N" if asked in ENCRYPTION else answer)
