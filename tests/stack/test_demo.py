"""The first command of a newcomer: one command, then an alert with its reasons, and everything can be looked at."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FRAUDSTREAM = [sys.executable, "-m", "fraudstream"]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of somebody who never ran it: a home of its own, no address of any service; only the jars are shared."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("FRAUDSTREAM_") or name == "FRAUDSTREAM_JARS"
    }
    place = tmp_path_factory.mktemp("newcomer")
    jars = {"FRAUDSTREAM_JARS": str(Path.home() / ".cache" / "fraudstream" / "jars")} | kept
    environment = jars | {"FRAUDSTREAM_HOME": str(place / "home")}
    yield environment
    done = run(environment, "reset", "--yes")
    assert done.returncode == 0, done.stderr
    left = [path for path in (place / "home").rglob("*") if path.is_file()]
    # Logs tell what happened; of data, processes and passwords nothing is left.
    assert {path.relative_to(place / "home").parts[0] for path in left} <= {"logs", "lock"}


def run(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The real program."""
    return subprocess.run(
        [*FRAUDSTREAM, *arguments], env=environment, capture_output=True, text=True, timeout=500, check=False
    )


def test_one_command_shows_an_explained_alert(newcomer: dict[str, str]) -> None:
    """`demo`: services, history, a model that beats the amount, live decisions, an alert with a reason in words.

    Then the commands that it recommends work on what it left.
    """
    done = run(newcomer, "demo", "--duration", "30", "--no-dashboard", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["transactions"] > 0
    assert document["latency_ms"]["p50"] <= document["latency_ms"]["p99"]
    assert document["model"]["algorithm"] == "isolation_forest"
    assert document["model"]["metrics"]["average_precision"] > 0
    assert document["alerts"] > 0, done.stderr
    assert document["seconds_to_first_alert"] > 0
    first = document["first_alert"]
    assert first["reasons"]

    told = json.loads(run(newcomer, "alerts", "explain", first["transaction_id"], "--json").stdout)
    assert told["risk"] == first["risk"]
    assert [reason["sentence"] for reason in told["reasons"]] == first["reasons"]
    said = run(newcomer, "label", first["transaction_id"], "--fraud", "--by", "newcomer")
    assert said.returncode == 0, said.stderr


def test_a_second_run_goes_on_from_the_first_until_ctrl_c(newcomer: dict[str, str]) -> None:
    """While the services run: history and model are there already; Ctrl-C ends it well, with what it did."""
    process = subprocess.Popen(
        [*FRAUDSTREAM, "demo", "--no-dashboard"],
        env=newcomer, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if "done: The scorer" in line:
            process.send_signal(signal.SIGINT)
            break
    out, rest = process.communicate(timeout=300)
    assert process.returncode == 0, "".join(said) + rest
    assert any("history is there already" in line for line in said)
    assert not any("A model learns" in line for line in said)
    assert "payments decided" in out
    status = json.loads(run(newcomer, "status", "--json").stdout)
    assert status["kafka"]["running"], "the services stay up for whoever wants to look around"
