"""`fraudstream bench` and the arithmetic of its table."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fraudstream.cli import bench
from fraudstream.cli.main import run
from fraudstream.features.definitions import DEFAULTS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_an_installed_package_says_where_its_benchmarks_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "CHECKOUT", tmp_path)
    assert run(["bench"]) == 1
    assert "part of the repository" in capsys.readouterr().err


def test_a_benchmark_that_does_not_exist_is_answered_with_those_that_do() -> None:
    """As every wrong use of the program: a sentence, or JSON where that was asked for."""
    command = [sys.executable, "-m", "fraudstream", "bench", "nothing", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stderr) == (2, "")
    error = json.loads(result.stdout)["error"]
    assert error["code"] == "usage"
    assert "nothing" in error["message"]
    assert {"consume", "produce"} <= set(re.findall(r"\w+", error["hint"]))


def test_every_benchmark_can_be_run_by_its_name() -> None:
    scripts = {path.stem: path.read_text(encoding="utf-8") for path in BENCHMARKS.glob("[a-z]*.py")}
    runs = {name for name, text in scripts.items() if "\ndef main()" in text} - {"programs"}  # of `consume`
    assert runs == set(runpy.run_path(str(BENCHMARKS / "names.py"))["NAMES"])


def test_the_dashboards_benchmark_can_be_had_quick() -> None:
    """As `fraudstream bench dashboard --quick` calls it."""
    command = [sys.executable, str(BENCHMARKS / "dashboard.py"), "--help"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert {"--quick", "--json"} <= set(re.findall(r"--\w+", said))


def test_a_ratio_says_how_many_times_better_whichever_way_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows a second shall be many and seconds few; a ratio above 1 is good for both, round by round."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from measure import beside

    rates = beside("pace", [30.0, 40.0, 50.0], "rows/s", "other", [10.0, 10.0, 10.0], at_least=4)
    assert (rates.value, rates.other, rates.ratio, rates.met) == (40.0, 10.0, 4.0, True)
    times = beside("time", [2.0, 2.0], "s", "other", [1.0, 1.0], less_is_better=True, at_least=1)
    assert (times.ratio, times.met) == (0.5, False)


def test_decisions_of_the_sinks_benchmark_have_the_features_of_its_forest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The forest reads the default features, of which there are fewer than features."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from scores import decisions

    x = np.arange(2.0 * len(DEFAULTS)).reshape(2, -1)
    found = [json.loads(message) for message in decisions(x, 2)]
    assert [list(decision["features"].values()) for decision in found] == x.tolist()
    assert {tuple(decision["features"]) for decision in found} == {DEFAULTS}
