"""Directories of models that this user may not read or write: refused with a sentence, before any work is lost."""

from pathlib import Path

import pytest

from another_user import closed, without_rights
from fraudstream.cli.inputs import open_model
from fraudstream.errors import InputError
from fraudstream.model import decisions, folder
from fraudstream.outputs import check_writable
from fraudstream.settings import load
from fraudstream.store import registry

# `open_model` imports these later, when it may be too late.
IMPORTED = (load, registry)


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


@pytest.mark.parametrize("output", ["/etc/model", "/etc/not/yet/model"])
def test_an_output_that_could_not_be_written_is_refused_before_the_training(output: str) -> None:
    """The model was lost after minutes of training."""
    with (
        without_rights(),
        pytest.raises(InputError, match=f"{output} cannot be written: /etc is not a directory that you may"),
    ):
        folder.check_target(Path(output))


def test_an_output_below_a_file_is_refused_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is not a directory that you may write to"):
        folder.check_target(tmp_path / "file" / "model")


def test_an_output_in_directories_that_do_not_exist_yet_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train` creates them."""
    folder.check_target(tmp_path / "not" / "yet" / "model")
    monkeypatch.chdir(tmp_path)
    folder.check_target(Path("model"))


def test_an_output_that_is_a_mount_point_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a volume of a container: no directory can be moved to its place, and the model was lost after minutes of training."""
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    with pytest.raises(InputError, match="is a mount point, which cannot be replaced"):
        folder.check_target(tmp_path)
    folder.check_target(tmp_path / "model")


def test_the_present_directory_is_not_taken_for_a_mount_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is its own parent by name, as only a mount point is."""
    monkeypatch.chdir(tmp_path)
    folder.check_target(Path())


@pytest.mark.parametrize("curve", ["/etc/curve.png", "/etc/passwd"], ids=["a new file", "an existing one"])
def test_a_curve_that_could_not_be_written_is_refused_before_the_training(curve: str) -> None:
    with without_rights(), pytest.raises(InputError, match=f"{curve} cannot be written: "):
        check_writable(Path(curve), "--curve", replaced=False)


def test_a_curve_in_a_directory_without_access_is_named(tmp_path: Path) -> None:
    """It was called a bug in fraudstream."""
    curve = tmp_path / "closed" / "curve.png"
    with closed(curve.parent), pytest.raises(InputError, match=r"curve.png cannot be written: "):
        check_writable(curve, "--curve", replaced=False)


def test_a_curve_may_replace_a_file_of_ones_own_wherever_it_is() -> None:
    """Only a new file needs a directory that can be written."""
    with without_rights():
        check_writable(Path("/dev/null"), "--curve", replaced=False)


def test_decisions_that_could_not_be_written_are_refused_before_the_scoring() -> None:
    """The model and the rows were read first."""
    with without_rights(), pytest.raises(InputError, match="you may not write to its directory"):
        decisions.check_output(Path("/etc/decisions.csv"))
