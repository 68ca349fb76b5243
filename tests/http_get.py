"""A look at an address, for tests of what is served."""

import http.client
from urllib.parse import urlsplit


def get(url: str) -> tuple[int, str]:
    """Status and body of a GET."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.netloc, timeout=30)
    try:
        connection.request("GET", where.path or "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def served_at(line: str) -> str:
    """The address that a command said it serves its figures and its health at."""
    assert "/metrics, health at " in line
    return line.split("health at ")[1].strip().removesuffix("/healthz")
