"""The pages that the demo opens, for somebody who has a PostgreSQL of their own."""

import json
from pathlib import Path

import pytest

from dashboard_browser import Server, Visit
from fraudstream.dashboard.launch import EMBEDDED, started
from fraudstream.local.processes import choose_port
from fraudstream.settings import ENDPOINTS, DashboardSettings, PostgresSettings
from fraudstream.store.migrate import current_revision


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_the_demos_pages_show_the_embedded_postgresql_and_leave_the_one_that_is_set_alone(  # noqa: PLR0913, PLR0917
    server: Server,
    seeded: PostgresSettings,
    visit: Visit,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    place: str,
) -> None:
    """Opening a page made our tables there, and verdicts on simulated alerts were written beside real ones."""
    own = server.database()
    assert own.password_file is not None
    there = {
        "FRAUDSTREAM_POSTGRES__HOST": own.host,
        "FRAUDSTREAM_POSTGRES__PORT": own.port,
        "FRAUDSTREAM_POSTGRES__DATABASE": own.database,
        "FRAUDSTREAM_POSTGRES__PASSWORD": own.password_file.read_text(encoding="utf-8").strip(),
    }
    if place == ".env":
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in there.items()))
    else:
        for name, value in there.items():
            monkeypatch.setenv(name, str(value))
    endpoints = {"postgres": json.loads(seeded.model_dump_json(exclude_unset=True))}
    (tmp_path / ENDPOINTS).write_text(json.dumps(endpoints))
    monkeypatch.setenv("FRAUDSTREAM_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    with started(DashboardSettings(port=choose_port()), EMBEDDED) as running:
        visit.go(running.url, "Newest alerts")
        visit.charts(3)
    assert current_revision(own) is None, "nobody was there"
