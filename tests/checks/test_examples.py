"""The examples in docstrings say what the code does."""

import doctest
import importlib
from pathlib import Path

import pytest

import fraudstream

PACKAGE = Path(fraudstream.__file__).parent


def modules_with_examples() -> list[str]:
    """The names of all modules of the package with an example."""
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if ">>> " in file.read_text(encoding="utf-8")]
    return [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]


@pytest.mark.parametrize("name", modules_with_examples())
def test_its_examples_are_true(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
