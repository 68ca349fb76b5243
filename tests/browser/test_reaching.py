"""Under which names browsers reach the real dashboard: a page lives by its WebSocket, whose handshake the server may refuse."""

import http.server
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from fraudstream.dashboard import launch
from fraudstream.errors import ServiceError
from fraudstream.local.processes import choose_port
from fraudstream.settings import DashboardSettings

PUBLIC = "fraud.example"
OPEN, REFUSED = 101, 403


def handshake(settings: DashboardSettings, host: str, origin: str) -> int:
    """The status of the answer to a browser's request for a page's WebSocket."""
    with socket.create_connection((settings.host, settings.port), 60) as connection:
        lines = (
            "GET /_stcore/stream HTTP/1.1", f"Host: {host}", f"Origin: {origin}", "Connection: Upgrade",
            "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )  # fmt: skip
        connection.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        return int(connection.recv(4096).split()[1])


@pytest.fixture(scope="module")
def proxied() -> Iterator[DashboardSettings]:
    """A dashboard on loopback, with the name of the proxy in front of it."""
    settings = DashboardSettings(port=choose_port(), public_host=PUBLIC, password=SecretStr("x"))
    with launch.started(settings):
        yield settings


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        # A proxy that passes the browser's Host on, and one that does not, as nginx by default.
        ("fraud.example", "https://fraud.example", OPEN),
        ("fraud.example:8443", "https://fraud.example:8443", OPEN),
        ("127.0.0.1:{port}", "https://fraud.example", OPEN),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", OPEN),
        # Another site's page, and one whose name was made to mean 127.0.0.1.
        ("fraud.example", "https://evil.example", REFUSED),
        ("127.0.0.1:{port}", "https://evil.example", REFUSED),
        ("evil.example", "https://evil.example", REFUSED),
    ],
)
def test_a_page_behind_a_proxy_works_under_its_public_name_and_no_other(
    host: str, origin: str, status: int, proxied: DashboardSettings
) -> None:
    where = {"port": proxied.port}
    assert handshake(proxied, host.format(**where), origin.format(**where)) == status


@pytest.mark.parametrize("path", ["/", "/alerts", "/_stcore/health", "/nothing/here.js"])
def test_no_page_elsewhere_can_lay_the_dashboard_under_what_it_asks_people_to_click(
    path: str, proxied: DashboardSettings
) -> None:
    """One click on such a page dismissed an alert."""
    address = f"http://{proxied.host}:{proxied.port}{path}"
    try:
        answer = urllib.request.urlopen(address, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        assert answer.headers["X-Frame-Options"] == "DENY"


def test_a_page_works_at_the_loopback_address_of_ipv6() -> None:
    settings = DashboardSettings(host="::1", port=choose_port())
    with launch.started(settings) as running:
        assert handshake(settings, f"[::1]:{settings.port}", running.url) == OPEN


def test_streamlits_own_settings_of_paths_and_certificates_do_not_hide_the_dashboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited two minutes for an answer at another address, and took the machine for busy."""
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text(
        '[server]\nsslCertFile = "cert.pem"\nsslKeyFile = "key.pem"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMLIT_SERVER_BASE_URL_PATH", "apps/fraud")
    settings = DashboardSettings(port=choose_port())
    with launch.started(settings) as running:
        assert handshake(settings, f"127.0.0.1:{settings.port}", running.url) == OPEN


def test_an_answer_that_is_not_the_dashboards_is_told_at_once() -> None:
    """As of another program that listens on the port."""
    with (
        http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process,
    ):
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(ServiceError, match="answered with HTTP status 501"):
            launch._await(process, DashboardSettings(port=other.server_port))
        other.shutdown()
        process.communicate()
