"""What unit tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the one who runs the tests, a home of the test's own, and no `.env` in the working directory."""
    for name in [name for name in os.environ if name.startswith("FRAUDSTREAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FRAUDSTREAM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
