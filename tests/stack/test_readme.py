"""The README's session is run, and prints what the README says it prints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def sessions() -> list[tuple[str, list[str]]]:
    """Every command of the README's console blocks, in order, with the output that is shown."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def shape(text: str) -> list[str]:
    """Lines with every number as N: counts, ports and seconds differ from run to run."""
    return [re.sub(r"\d[\d,.]*", "N", line) for line in text.splitlines()]


@pytest.fixture
def fresh(environment: dict[str, str], tmp_path: Path) -> "dict[str, str]":
    """The environment of a newcomer: a home of its own and no address of any service; only the jars are shared."""
    kept = {
        k: v for k, v in environment.items() if not k.startswith("FRAUDSTREAM_") or k == "FRAUDSTREAM_JARS"
    }
    return kept | {"FRAUDSTREAM_HOME": str(tmp_path / "home")}


def test_the_session_of_the_readme_is_real(fresh: dict[str, str], tmp_path: Path) -> None:
    assert len(sessions()) >= 3
    try:
        for command, output in sessions():
            program, *arguments = command.split()
            assert program == "fraudstream"
            done = subprocess.run(
                [sys.executable, "-m", "fraudstream", *arguments],
                env=fresh, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            assert shape(done.stdout) == shape("\n".join(output)), command
    finally:
        subprocess.run(
            [sys.executable, "-m", "fraudstream", "reset", "--yes"],
            env=fresh,
            check=True,
            capture_output=True,
            timeout=120,
        )


def test_the_makefile_runs_the_session_of_the_readme() -> None:
    """`make demo` is the session, command by command."""
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    demo = makefile.split("\ndemo:", 1)[1].split("\n\n", 1)[0]
    assert re.findall(r"^\t\$\(BIN\)/(fraudstream .*)$", demo, re.MULTILINE) == [c for c, _ in sessions()]
