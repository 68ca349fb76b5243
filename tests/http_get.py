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
