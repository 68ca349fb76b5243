"""The real dashboard in a real browser, over a real PostgreSQL of this run's own: pages need no Kafka."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest

import dashboard_world
from dashboard_browser import Server, Start, Visit, leave, open_visit, started
from fraudstream.local.home import Home
from fraudstream.local.postgres import EmbeddedPostgres
from fraudstream.settings import PostgresSettings
from free_ports import give_ports
from unsynced import unsync

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ARGUMENTS = (
    "--no-sandbox",  # tests may run as root, where Chromium's sandbox refuses
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    # The name is that of the homes of tests/stack, which remove those of runs that were killed.
    with tempfile.TemporaryDirectory(prefix=f"fraudstream-tests-{os.getpid()}-") as directory:
        Path(directory).chmod(0o711)
        embedded = EmbeddedPostgres(give_ports(Home(Path(directory))))
        try:
            embedded.start(Event())
            server = Server(embedded)
            unsync(server.postgres)
            yield server
        finally:
            embedded.stop()
            embedded.remove()


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    return lambda postgres, **settings: started(postgres, tmp_path_factory.mktemp("dashboard"), **settings)


@pytest.fixture(scope="session")
def seeded(server: Server) -> PostgresSettings:
    """A database with a few weeks of customers, two models, decisions, alerts and verdicts."""
    postgres = server.database()
    dashboard_world.seed(postgres)
    return postgres


@pytest.fixture(scope="session")
def dashboard(seeded: PostgresSettings, start: Start) -> Iterator[str]:
    """The address of a dashboard over `seeded`."""
    with start(seeded) as running:
        yield running.url


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.fail(
            "Chromium is missing: install Debian's package chromium, or name a browser in CHROMIUM.",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: "Browser", request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A browser of a test's own. At the end: no page raised an error, and nobody but this machine was asked."""
    visit = open_visit(browser, getattr(request, "param", "light"))
    yield visit
    leave(visit)


@pytest.fixture
def new_visit(browser: "Browser") -> Iterator[Callable[[], Visit]]:
    """Makes more browsers, each with a session of its own."""
    made: list[Visit] = []

    def make() -> Visit:
        made.append(open_visit(browser))
        return made[-1]

    yield make
    for visit in made:
        leave(visit)
