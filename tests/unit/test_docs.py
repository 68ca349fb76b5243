"""Pages that the program can print are the pages that it prints."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_settings_is_what_the_program_prints() -> None:
    """After a change: `fraudstream config document > docs/settings.md`."""
    command = [sys.executable, "-m", "fraudstream", "config", "document"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == printed


def test_every_command_stands_in_the_readme() -> None:
    import typer.main

    from fraudstream.cli.main import app

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = getattr(typer.main.get_command(app), "commands", {})
    assert [name for name in commands if f"fraudstream {name}" not in readme] == []
