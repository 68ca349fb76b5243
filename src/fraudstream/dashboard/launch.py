"""Starts the dashboard: a Streamlit server in a process of its own, with its settings in the environment.

Nothing heavy is imported here, and no secret is on a command line.
"""

import errno
import ipaddress
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fraudstream.errors import ServiceError, SettingsError
from fraudstream.logs import get_logger
from fraudstream.settings import PREFIX, DashboardSettings, bracketed

log = get_logger("dashboard.launch")

START_SECONDS = 120.0
"""Usually two seconds suffice; Streamlit's first import on a cold, busy machine takes a minute."""
STOP_SECONDS = 10.0
NOT_READY = 503
"""Streamlit's HTTP status while it starts."""
EMBEDDED = "--embedded"
"""An option of the server, not a variable: `.env` may set another PostgreSQL, and no variable unsets that."""
PROXIES = "FORWARDED_ALLOW_IPS"
"""uvicorn's variable: addresses of proxies, separated by commas."""
THEME = Path(__file__).with_name("theme.toml")


@dataclass(frozen=True)
class Dashboard:
    """A running dashboard."""

    url: str
    process: "subprocess.Popen[bytes]"

    def wait(self) -> None:
        """Wait until it exits. Always raises ServiceError, as it should never exit by itself."""
        code = self.process.wait()
        raise ServiceError(f"The dashboard ended with code {code}.", hint="The lines above say why.")


@contextmanager
def started(settings: DashboardSettings, *options: str) -> Iterator[Dashboard]:
    """Run the dashboard for the duration of the block; it is ready when the block begins, and stopped when it ends.

    With the option EMBEDDED it shows the embedded PostgreSQL, whatever the settings say.
    The process ends with us even if we are killed, as it holds the other end of a pipe of ours.
    Raises SettingsError if it would be open to everybody, ServiceError if it cannot start.
    """
    check_closed(settings)
    _check_free(settings.host, settings.port)
    process = subprocess.Popen(
        [sys.executable, "-m", "fraudstream.dashboard.server", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # Streamlit's own greeting
        env=os.environ | variables(settings),
        # Ctrl-C in the terminal reaches only us, and we end it cleanly.
        start_new_session=True,
    )
    try:
        _await(process, settings)
        yield Dashboard(f"http://{bracketed(settings.host)}:{settings.port}", process)
    finally:
        _end(process)


def variables(settings: DashboardSettings) -> dict[str, str]:
    """The environment of the server, which overrides the user's `.streamlit/config.toml`."""
    streamlit = {
        "GLOBAL_DEVELOPMENT_MODE": "false",  # Streamlit guesses it from where it is installed
        "SERVER_ADDRESS": settings.host,
        "SERVER_PORT": str(settings.port),
        "SERVER_HEADLESS": "true",
        "SERVER_SHOW_EMAIL_PROMPT": "false",
        "SERVER_FILE_WATCHER_TYPE": "none",
        "SERVER_MAX_UPLOAD_SIZE": "1",
        "BROWSER_GATHER_USAGE_STATS": "false",
        # Pages of this origin may connect, whatever Host their proxy sends. Without it, a server that listens on every
        # address asks a public service for its own, to print it.
        "BROWSER_SERVER_ADDRESS": settings.public_host or bracketed(settings.host),
        "CLIENT_TOOLBAR_MODE": "viewer",
        # An unexpected error may contain data; it goes to our stderr, not into the page.
        "CLIENT_SHOW_ERROR_DETAILS": "none",
        "CLIENT_SHOW_ERROR_LINKS": "false",
        "THEME_BASE": str(THEME),
        "LOGGER_LEVEL": "warning",
    }
    if is_loopback(settings.host):
        # A page elsewhere whose name suddenly means 127.0.0.1 must not read alerts (DNS rebinding).
        names = ("localhost", "127.0.0.1", settings.host, settings.public_host)
        streamlit["SERVER_ALLOWED_HOSTS"] = " ".join(name for name in names if name)
    ours = {
        f"{PREFIX}DASHBOARD__HOST": settings.host,
        f"{PREFIX}DASHBOARD__PORT": str(settings.port),
        # Proxies whose X-Forwarded-For uvicorn trusts. By default it trusts every program on this machine, each of which
        # could then guess passwords from ever new addresses.
        PROXIES: os.environ.get(PROXIES, ""),
    }
    return {f"STREAMLIT_{name}": value for name, value in streamlit.items()} | ours


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_closed(settings: DashboardSettings) -> None:
    """Raise SettingsError if other machines could open the dashboard without a password."""
    open_to = [name for name in (settings.host, settings.public_host) if name and not is_loopback(name)]
    if open_to and settings.secret() is None:
        raise SettingsError(
            f"The dashboard shows customers' transactions, and {open_to[0]} can be reached from other machines.",
            hint=f"Set {PREFIX}DASHBOARD__PASSWORD_FILE (or __PASSWORD), or stay on --host 127.0.0.1"
            f" without {PREFIX}DASHBOARD__PUBLIC_HOST.",
        )


def _check_free(host: str, port: int) -> None:
    """Raise ServiceError if the address cannot be listened on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: connections that are still closing do not block the port, a listener does.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServiceError(
                f"Port {port} of {host} is in use, possibly by a dashboard that is already running.",
                hint=f"Open http://{bracketed(host)}:{port}, or choose another port: `fraudstream dashboard --port {port % 65535 + 1}`.",
            ) from None
        raise ServiceError(
            f"The dashboard cannot listen on {host}, port {port}: {error.strerror or error}.",
            hint="Give an address of this machine with --host, and a port above 1023 with --port.",
        ) from None


def _await(process: "subprocess.Popen[bytes]", settings: DashboardSettings) -> None:
    """Wait until it responds. Raises ServiceError."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, not bound
    host = everywhere.get(settings.host, bracketed(settings.host))
    # Ignores a proxy in the environment: the server is our own process.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while True:
        if process.poll() is not None:
            raise ServiceError(
                f"The dashboard ended with code {process.returncode} before it responded.",
                hint="The lines above say why.",
            )
        try:
            with opener.open(f"http://{host}:{settings.port}/_stcore/health", timeout=5) as answer:
                if answer.status == 200:  # noqa: PLR2004 - HTTP's OK
                    return
        except urllib.error.HTTPError as error:
            if error.code != NOT_READY:
                raise ServiceError(
                    f"Port {settings.port} of {settings.host} answered with HTTP status {error.code}, unlike a dashboard.",
                    hint="Another program may listen there: choose another port with `fraudstream dashboard --port`.",
                ) from None
        except OSError:
            pass  # Not listening yet.
        if time.monotonic() > deadline:
            raise ServiceError(
                f"The dashboard did not respond within {START_SECONDS:g} s and was stopped.",
                hint="Check whether the machine is very busy, then start it again.",
            )
        time.sleep(0.05)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End it cleanly, or by force if that takes too long."""
    assert process.stdin is not None, "opened as a pipe"  # noqa: S101 - narrows the type
    process.stdin.close()
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        log.warning("The dashboard did not end within %g s; it was killed.", STOP_SECONDS)
        process.kill()
        process.wait()
