"""The pages that the demo opens, for somebody who has a PostgreSQL of their own."""

import json
from pathlib import Path

import pytest

from dashboard_browser import Server, Visit
from fraudstream.dashboard.launch import EMBEDDED, started
from fraudstream.local.processes import choose_port
from fraudstream.settings import ENDPOINTS, DashboardSettings, PostgresSettings
from fraudstream.store.migrate import current_revision


def test_the_demos_pages_show_the_embedded_postgresql_and_leave_those_that_are_set_alone(
    server: Server,
    seeded: PostgresSettings,
    visit: Visit,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """One in the environment, another one in `.env`: their tables were made by opening a page, and verdicts written beside real ones."""
    exported, written = server.database(), server.database()
    for name, value in variables(exported).items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables(written).items()))
    endpoints = {"postgres": json.loads(seeded.model_dump_json(exclude_unset=True))}
    (tmp_path / ENDPOINTS).write_text(json.dumps(endpoints))
    monkeypatch.setenv("FRAUDSTREAM_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    with started(DashboardSettings(port=choose_port()), EMBEDDED) as running:
        visit.go(running.url, "Newest alerts")
        visit.charts(3)
    assert [current_revision(own) for own in (exported, written)] == [None, None], "nobody was there"


def variables(own: PostgresSettings) -> dict[str, str]:
    """What sets this PostgreSQL."""
    assert own.password_file is not None
    there: dict[str, object] = {
        "HOST": own.host,
        "PORT": own.port,
        "DATABASE": own.database,
        "PASSWORD": own.password_file.read_text(encoding="utf-8").strip(),
    }
    return {f"FRAUDSTREAM_POSTGRES__{name}": str(value) for name, value in there.items()}
