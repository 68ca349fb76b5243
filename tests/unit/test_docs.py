"""What the pages say is what the program knows: its settings, its commands, their options."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

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


PAGES = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")])
_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_IN_BLOCK = re.compile(r"(?:^|\$ |&& |\| )fraudstream +([^\n|]*)", re.MULTILINE)
_IN_TEXT = re.compile(r"`fraudstream +([^`\n|]*)")


def commands(page: Path) -> list[str]:
    """What the page says to type, without comments, redirections and what only stands for more."""
    text = page.read_text(encoding="utf-8")
    found = [c for block in _BLOCK.findall(text) for c in _IN_BLOCK.findall(block)]
    found += _IN_TEXT.findall(_BLOCK.sub("", text))
    plain = (re.split(r" #| [<>] ?|…|;|\\$", command)[0].strip() for command in found)
    return sorted({command for command in plain if command and not command.startswith(("-", "["))})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_and_all_its_options_exist(page: Path) -> None:
    """`--help` behind it: the command is found and its options are read before help is shown."""
    from typer.testing import CliRunner

    from fraudstream.cli.main import app

    for command in commands(page):
        words = [word for word in shlex.split(command) if word != "/"]
        shown = CliRunner().invoke(app, [*words, "--help"])
        assert shown.exit_code == 0, f"{page.name}: fraudstream {command}\n{shown.output}"
        assert "Usage" in shown.output


def test_the_pages_do_say_what_to_type() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 100


@pytest.mark.parametrize("page", ["operations.md", "containers.md"])
def test_an_upgrade_has_one_order_wherever_it_is_described(page: str) -> None:
    """A stream that runs on meanwhile writes by the old version what the new one migrates."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").lower()
    assert re.search(r"stop the streams\b[^.]*, back up\b[^.]*, install the new version", text)


@pytest.mark.parametrize(
    "package", ["dashboard", "demo", "features", "kafka", "model", "reasons", "rules", "spark", "store"]
)
def test_every_module_stands_on_the_map_of_its_package(package: str) -> None:
    """Whoever opens `__init__.py` finds the room by its name."""
    folder = ROOT / "src" / "fraudstream" / package
    plan = (folder / "__init__.py").read_text(encoding="utf-8").split('"""')[1]
    modules = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    assert [name for name in modules if not re.search(rf"\b{name}\b", plan)] == []
