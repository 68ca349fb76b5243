"""What pip is told of our dependencies."""

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_dependency_says_the_oldest_release_that_has_what_we_call() -> None:
    """Without one, pip keeps whatever an environment has, and the import fails instead of the installation."""
    assert [name for name in PROJECT["dependencies"] if not re.search(r"[>=]=\d", name)] == []
