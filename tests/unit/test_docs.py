"""What the pages say is what the program knows: its settings, its commands, their options."""

import ast
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

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
    plain = (re.split(r" #| [<>] ?| \[|…|;|\\$", command)[0].strip() for command in found)
    told = {command for command in plain if command and not command.startswith(("-", "["))}
    return sorted(one for command in told for one in _each(command))


def _each(command: str) -> list[str]:
    """`up / down`, `models list / show`: each of the commands that are named so, which need no arguments to be asked for help."""
    first, *others = command.split(" / ")
    group = " ".join(first.split()[:-1])
    return [f"{group} {one} --help" for one in (first.split()[-1], *others)] if others else [command]


def mute(command: Any) -> Any:
    """The same command line with nothing behind it."""
    command.callback = lambda **_: None
    for one in getattr(command, "commands", {}).values():
        mute(one)
    return command


@cache
def program() -> Any:
    """The whole command line, muted."""
    from typer.main import get_command

    from fraudstream.cli.main import app

    return mute(get_command(app))


def understood(command: str) -> bool:
    """Whether the program takes this command, all its options and their values; nothing is done. A group alone is a name."""
    words = shlex.split(command)
    if hasattr(program().commands.get(words[-1]), "commands"):
        words.append("--help")
    try:
        program().main(words, prog_name="fraudstream")
    except SystemExit as ended:
        return ended.code == 0
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands(page):
        assert understood(command), f"{page.name}: fraudstream {command}\n{capsys.readouterr().err}"


@pytest.mark.parametrize(
    "command", ["trian", "train --alert", "train --alert-rate 2", "consume frauds", "models promote"]
)
def test_a_wrong_command_would_be_noticed(command: str) -> None:
    assert not understood(command)


@pytest.mark.usefixtures("empty_environment")
def test_commands_of_the_pages_that_touch_nothing_work(capsys: pytest.CaptureFixture[str]) -> None:
    """Payments are only printed, and one of them."""
    from fraudstream.cli.main import run

    told = {command for page in PAGES for command in commands(page)}
    harmless = {command for command in told if command.startswith(("config ", "roles sql", "rules example"))}
    printed = {f"{c} --dry-run --count 1" for c in told if c.startswith("produce") and "--from" not in c}
    assert len(harmless) >= 4
    assert len(printed) >= 6
    for command in harmless | printed:
        assert run(["--quiet", *shlex.split(command)]) == 0, f"fraudstream {command}"
        assert capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_that_checks_a_certificate_names_who_signed_it(page: Path) -> None:
    """Otherwise libpq looks into ~/.postgresql, where nobody has anything."""
    blocks = _BLOCK.findall(page.read_text(encoding="utf-8"))
    assert [b for b in blocks if "SSLMODE=verify" in b and "SSLROOTCERT=" not in b] == []


def test_the_pages_do_say_what_to_type() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 100


@pytest.mark.parametrize("page", ["operations.md", "containers.md"])
def test_an_upgrade_has_one_order_wherever_it_is_described(page: str) -> None:
    """A stream that runs on meanwhile writes by the old version what the new one migrates."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").lower()
    assert re.search(r"stop the streams\b[^.]*, back up\b[^.]*, install the new version", text)


def said() -> set[str]:
    """Every text in the program, `…` for what it fills in."""
    texts: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            constants = (part.value if isinstance(part, ast.Constant) else "…" for part in parts)
            texts.add("".join(one for one in constants if isinstance(one, str)))
    return texts


def test_every_message_that_operations_explains_is_one_of_the_programs() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = page.partition("| message | do |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()
    messages = [message for row in rows for message in row.strip("| ").split(" | ")[0].split("; ")]
    texts = said()
    assert len(messages) > 30
    for message in messages:
        pieces = message.replace("`FRAUDSTREAM_", "…").split("…")
        form = re.compile(".*".join(re.escape(piece.strip(" `")) for piece in pieces), re.DOTALL)
        assert any(form.search(text) for text in texts), message


@pytest.mark.parametrize(
    "package", ["dashboard", "demo", "features", "kafka", "model", "reasons", "rules", "spark", "store"]
)
def test_every_module_stands_on_the_map_of_its_package(package: str) -> None:
    """Whoever opens `__init__.py` finds the room by its name."""
    folder = ROOT / "src" / "fraudstream" / package
    plan = (folder / "__init__.py").read_text(encoding="utf-8").split('"""')[1]
    modules = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    assert [name for name in modules if not re.search(rf"\b{name}\b", plan)] == []
