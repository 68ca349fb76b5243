"""A program on PostgreSQL's port: it speaks the protocol, and knows no password, or hangs once somebody has come in."""

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
def false_postgres(answer: bytes, *, hangs: bool = False) -> Iterator[FalsePostgres]:
    """One that listens on the loopback address and answers each login with `answer`; if it `hangs`, nothing after that."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        false = FalsePostgres(listener.getsockname()[1])
        threading.Thread(target=_serve, args=(listener, false, answer, hangs), daemon=True).start()
        yield false


def _serve(listener: socket.socket, false: FalsePostgres, answer: bytes, hangs: bool) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # the test is over
            return
        with client:
            welcomed = False
            while words := client.recv(65_536):
                false.heard += words
                asked = int.from_bytes(words[4:8], "big") if len(words) == 8 else 0
                if asked in ENCRYPTION:
                    client.sendall(b"N")
                elif not (hangs and welcomed):
                    client.sendall(answer)
                    welcomed = True
