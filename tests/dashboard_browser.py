"""The real dashboard as a process, a PostgreSQL that may be stopped, and visits with a real browser."""

import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Literal

import psutil

from environment import without_settings
from fraudstream.errors import ExitCode
from fraudstream.local.postgres import DATABASE, USER, EmbeddedPostgres
from fraudstream.local.processes import choose_port
from fraudstream.settings import PostgresSettings
from fraudstream.store.connection import connect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

PATIENCE_MS = 120_000
"""A page takes a second; a machine with other work to do takes its time. Only a hang meets this."""


@dataclass
class Server:
    """A PostgreSQL that tests may stop."""

    embedded: EmbeddedPostgres

    def start(self) -> None:
        """Start it where it was stopped, with the same port."""
        self.embedded.start(Event())

    def stop(self) -> None:
        """Send its clients away."""
        assert self.embedded.stop()

    @property
    def postgres(self) -> PostgresSettings:
        """Its administrator."""
        assert self.embedded.port is not None
        return PostgresSettings(
            host="127.0.0.1",
            port=self.embedded.port,
            user=USER,
            database=DATABASE,
            password_file=self.embedded.home.password,
        )

    def database(self) -> PostgresSettings:
        """A new, empty one."""
        name = f"test_{secrets.token_hex(6)}"
        with connect(self.postgres, autocommit=True) as connection:
            connection.execute(f'create database "{name}"'.encode())
        return self.postgres.model_copy(update={"database": name})


@dataclass(frozen=True)
class Running:
    """A dashboard: where it is, and the process that a user would have started."""

    url: str
    process: "subprocess.Popen[str]"


Start = Callable[..., AbstractContextManager[Running]]
"""`start(postgres, PASSWORD="…")`: the real program with these settings; it must end in order."""


@contextmanager
def launched(postgres: PostgresSettings, directory: Path, **settings: str) -> Iterator[Running]:
    """Run `fraudstream dashboard`, as soon as it says where it is; at the end it is gone, whatever it takes."""
    ours: Mapping[str, object] = {
        "HOME": directory,
        "POSTGRES__HOST": postgres.host,
        "POSTGRES__PORT": postgres.port,
        "POSTGRES__DATABASE": postgres.database,
        "POSTGRES__PASSWORD_FILE": postgres.password_file,
        "DASHBOARD__PORT": choose_port(),
    } | {f"DASHBOARD__{name}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "fraudstream", "dashboard"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=directory,
        env=without_settings() | {f"FRAUDSTREAM_{name}": str(value) for name, value in ours.items()},
    )
    with process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.search(r"http://\S+:\d+", said)
            assert found, f"said {said!r}"
            yield Running(found[0], process)
        finally:
            process.kill()


@contextmanager
def started(postgres: PostgresSettings, directory: Path, **settings: str) -> Iterator[Running]:
    """The same until SIGTERM, which ends it as Ctrl-C does: in order, leaving nothing behind.

    Not SIGINT, which a background job of a shell inherits as ignored.
    """
    with launched(postgres, directory, **settings) as running:
        yield running
        children = psutil.Process(running.process.pid).children(recursive=True)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == ExitCode.INTERRUPTED
        _, alive = psutil.wait_procs(children, 60)
        assert not alive


@dataclass
class Visit:
    """A page of the dashboard as somebody in Tokyo sees it."""

    page: "Page"
    hosts: set[str] = field(default_factory=set)
    """Whom the browser asked for anything."""

    def go(self, url: str, ready: "str | re.Pattern[str]") -> None:
        """Open an address and wait until it shows this text."""
        self.page.goto(url)
        self.see(ready)

    def see(self, text: "str | re.Pattern[str]") -> None:
        """Wait until the page shows this text."""
        self.page.get_by_text(text).first.wait_for()

    def settled(self) -> None:
        """Until Streamlit has nothing left to run or to load; for what can be waited for itself, see the others."""
        self.page.wait_for_timeout(300)  # a key or a click goes to the server before a run begins
        self.page.wait_for_function(
            "document.querySelector('[data-test-script-state=notRunning]')"
            " && !document.querySelector('[data-stale=true], [data-testid=stSkeleton]')"
        )

    def count(self, found: "Locator", number: int) -> None:
        """Wait until there are so many."""
        from playwright.sync_api import expect

        expect(found).to_have_count(number, timeout=PATIENCE_MS)

    def read(self, text: str) -> None:
        """Wait until this text stands on the page, wherever it is broken into elements."""
        from playwright.sync_api import expect

        expect(self._main).to_contain_text(text, use_inner_text=True, timeout=PATIENCE_MS)

    @property
    def text(self) -> str:
        """Everything that stands on the page."""
        return self._main.inner_text()

    @property
    def _main(self) -> "Locator":
        return self.page.locator("[data-testid=stMainBlockContainer]")

    def charts(self, number: int) -> None:
        """Wait until so many charts are to be seen, each of them drawn."""
        shown = self.page.locator("[data-testid=stVegaLiteChart]:visible")
        for place in range(number):
            shown.nth(place).locator("canvas, svg.marks").first.wait_for(state="attached")
        self.settled()
        self.count(shown, number)


def open_visit(browser: "Browser", scheme: Literal["light", "dark"] = "light") -> Visit:
    """A browser with a session of its own, in Tokyo."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 1000},
        color_scheme=scheme,
        timezone_id="Asia/Tokyo",
        locale="en-US",
    )
    context.set_default_timeout(PATIENCE_MS)
    visit = Visit(context.new_page())
    visit.page.on("request", lambda asked: visit.hosts.add(asked.url.split("/")[2].split(":")[0]))
    return visit


def leave(visit: Visit) -> None:
    """Close it: no page raised an error, and nobody but this machine was asked."""
    errors = visit.page.locator("[data-testid=stException]").all_inner_texts()
    visit.page.context.close()
    assert errors == []
    assert visit.hosts <= {"127.0.0.1", ""}, "a page asked somebody else for something"
