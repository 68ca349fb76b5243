"""Directories of models that this user may not read or write: refused with a sentence, before any work is lost."""

from pathlib import Path

import pytest

from another_user import closed
from fraudstream.cli.inputs import open_model
from fraudstream.errors import InputError
from fraudstream.model import folder, packing
from fraudstream.settings import load
from fraudstream.store import registry

# `open_model` imports these later, when it may be too late.
IMPORTED = (packing, load, registry)


def test_a_model_in_a_directory_without_access_is_named(tmp_path: Path) -> None:
    """It was called a bug in fraudstream."""
    model = tmp_path / "closed" / "model"
    with closed(model.parent), pytest.raises(InputError, match=r"model cannot be read: .*Permission denied"):
        open_model(str(model))


@pytest.mark.usefixtures("empty_environment")
def test_a_name_too_long_for_a_directory_is_looked_for_in_the_registry() -> None:
    """The system refuses to look for such a file, which was called a bug in fraudstream."""
    with pytest.raises(InputError, match=r"There is no directory m{300}, and no PostgreSQL"):
        open_model("m" * 300)


def test_an_output_without_access_is_named(tmp_path: Path) -> None:
    """It was called a bug in fraudstream."""
    output = tmp_path / "closed" / "model"
    with closed(output.parent), pytest.raises(InputError, match="model cannot be written: "):
        folder.check_target(output)
