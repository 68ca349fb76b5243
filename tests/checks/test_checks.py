"""The checkers of `make lint`, beside the other tests: mypy alone would keep one core busy for a minute, and leave the rest idle."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def checkers() -> list[str]:
    """The commands of the Makefile's target `lint`, without their directory."""
    _, _, rest = MAKEFILE.partition("\nlint: ")
    recipe, _, _ = rest.partition("\n\n")
    return re.findall(r"^\t\$\(BIN\)/(.+)$", recipe, re.MULTILINE)


def test_lint_runs_them_all() -> None:
    assert [command.split()[0] for command in checkers()] == ["ruff", "ruff", "mypy", "lint-imports"]


@pytest.mark.parametrize("command", checkers())
def test_a_checker_finds_nothing(command: str) -> None:
    program, *arguments = command.split()
    done = subprocess.run(
        [Path(sys.executable).parent / program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
