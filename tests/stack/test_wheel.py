"""The wheel as a pipeline installs it: no checkout, no services, no settings."""

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv

from environment import without_settings
from fraudstream.decode import Decoder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of an environment that holds the built wheel; its dependencies are lent by ours.

    Installing those anew takes minutes and tests the packages of others. `.pth` files of a lent directory are
    not read, so the checkout that is installed there stays invisible.
    """
    place = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(place),
        str(ROOT),
    ]
    subprocess.run(build, check=True, timeout=300)
    (wheel,) = place.glob("fraudstream-*.whl")
    home = place / "environment"
    venv.create(home, with_pip=False, symlinks=True)
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(home / "bin" / "python"),
        "install",
        "--quiet",
        "--no-deps",
    ]
    subprocess.run([*install, str(wheel)], check=True, timeout=120)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return home / "bin" / "fraudstream"


def bare() -> dict[str, str]:
    """An environment that says nothing of fraudstream, nor where Python finds it."""
    return {name: value for name, value in without_settings().items() if not name.startswith("PYTHON")}


def run(program: Path, place: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The installed program."""
    return subprocess.run(
        [str(program), *arguments],
        env=bare() | {"FRAUDSTREAM_HOME": str(place / "home")},
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_pipeline_trains_and_scores_with_no_services(installed: Path, tmp_path: Path) -> None:
    """`pip install`, `train --data sample.csv --output model/`, `score --data` with that model: files in, files out."""
    made = run(
        installed, tmp_path, "produce", "--dry-run", "--days", "30", "--history-only", "--users", "150"
    )
    assert made.returncode == 0, made.stderr
    rows = Decoder().decode(made.stdout.encode().splitlines()).rows
    csv.write_csv(rows.cast(pa.schema([f.with_metadata(None) for f in rows.schema])), tmp_path / "sample.csv")

    trained = run(
        installed, tmp_path, "train", "--data", "sample.csv", "--output", "model/",
        "--algorithm", "isolation_forest", "--json",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stdout + trained.stderr
    report = json.loads(trained.stdout)
    assert report["source"]["read"] == rows.num_rows
    assert (tmp_path / "model" / "SHA256SUMS").is_file()

    scored = run(installed, tmp_path, "score", "--data", "sample.csv", "--model", "model/")
    assert scored.returncode == 0, scored.stderr
    decisions = [json.loads(line) for line in scored.stdout.splitlines()]
    assert [d["transaction_id"] for d in decisions] == rows["transaction_id"].to_pylist()
    assert {d["model_version"] for d in decisions} == {report["version"]}
    assert not (tmp_path / "home").exists(), "no service was needed, and nothing was left"


def test_the_wheel_brings_what_the_program_reads(installed: Path, tmp_path: Path) -> None:
    """Migrations, jar sums, log settings, rules and the theme lie inside; tests and benchmarks do not."""
    where = [str(installed.with_name("python")), "-c", "import fraudstream; print(fraudstream.__path__[0])"]
    printed = subprocess.run(where, check=True, capture_output=True, text=True, cwd=tmp_path, env=bare())
    package = Path(printed.stdout.strip())
    assert package.is_relative_to(installed.parents[1])
    checkout = ROOT / "src" / "fraudstream"
    wanted = {
        path.relative_to(checkout)
        for path in checkout.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = {
        path.relative_to(package)
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert found == wanted
    assert run(installed, tmp_path, "--version").stdout.startswith("fraudstream ")
