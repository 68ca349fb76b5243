"""The first command of a newcomer: one command, then an alert with its reasons, and everything can be looked at."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from documents import lacking
from environment import without_settings
from fraudstream.errors import ExitCode

README = Path(__file__).parents[2] / "README.md"
FRAUDSTREAM = [sys.executable, "-m", "fraudstream"]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of somebody who never ran it: a home of its own, no address of any service; only the jars are shared."""
    place = tmp_path_factory.mktemp("newcomer")
    jars = os.environ.get("FRAUDSTREAM_JARS", str(Path.home() / ".cache" / "fraudstream" / "jars"))
    environment = without_settings() | {"FRAUDSTREAM_JARS": jars, "FRAUDSTREAM_HOME": str(place / "home")}
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


def frames(text: str) -> list[str]:
    """The first three words of each line that is no reason, numbers as N: what is the same in every run."""
    lines = [line for line in text.splitlines() if line and not line.startswith(" ")]
    return [" ".join(re.sub(r"\d[\d,.]*", "N", line).split()[:3]) for line in lines]


def readme_session() -> tuple[str, str]:
    """The README's first command, and the output that it shows."""
    text = README.read_text(encoding="utf-8")
    found = re.search(r"```console\n\$ (fraudstream .*)\n([^`]*)```", text)
    assert found, "the README shows a session"
    return found[1], found[2]


def test_one_command_shows_an_explained_alert_and_the_next_one_goes_on_from_there(
    newcomer: dict[str, str],
) -> None:
    """The README's command ends as the README shows, here sooner; then what it recommends works on what it left."""
    command, shown = readme_session()
    assert command == "fraudstream demo --duration 60"
    done = run(newcomer, "demo", "--duration", "20", "--no-dashboard")
    assert done.returncode == 0, done.stderr
    assert frames(done.stdout) == frames(shown), done.stdout + done.stderr

    first = re.search(r"alerts explain (\S+)", done.stdout)
    assert first, done.stdout
    told = json.loads(run(newcomer, "alerts", "explain", first[1], "--json").stdout)
    assert 0 < told["risk"] <= 1
    assert told["reasons"]
    for reason in told["reasons"][:3]:
        assert reason["sentence"] in done.stdout
    said = run(newcomer, "label", first[1], "--fraud", "--by", "newcomer")
    assert said.returncode == 0, said.stderr
    models = json.loads(run(newcomer, "models", "list", "--json").stdout)["models"]
    assert [(m["status"], m["algorithm"]) for m in models] == [("champion", "gradient_boosting")]
    goes_on_until_its_process_group_is_told_to_end(newcomer)


def goes_on_until_its_process_group_is_told_to_end(newcomer: dict[str, str]) -> None:
    """While the services run: history and model are there already.

    A signal to every process of its group, Spark's among them, ends it well, with what it did as JSON.
    """
    process = subprocess.Popen(
        [*FRAUDSTREAM, "demo", "--no-dashboard", "--json"],
        env=newcomer, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if "ALERT" in line:
            second = run(newcomer, "demo", "--seed", "7")
            os.killpg(process.pid, signal.SIGTERM)
            break
    out, rest = process.communicate(timeout=300)
    assert process.returncode == 0, "".join(said) + rest
    assert second.returncode == ExitCode.FAILED, "two at once would count each other's payments"
    assert "Another demo is running" in second.stderr
    assert any("history exists already" in line for line in said)
    assert not any("Training a model" in line for line in said)
    document = json.loads(out)
    assert lacking("demo", document) == []
    assert document["transactions"] >= document["alerts"] > 0
    assert 0 <= document["latency_ms"]["p50"] <= document["latency_ms"]["p99"]
    assert document["seconds_to_first_alert"] > 0
    assert document["first_alert"]["reasons"]
    assert document["model"]["metrics"]["average_precision"] > 0
    status = json.loads(run(newcomer, "status", "--json").stdout)
    assert status["kafka"]["running"], "the services stay up for whoever wants to look around"


def test_make_demo_runs_what_the_readme_shows() -> None:
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    assert f"\t$(BIN)/{readme_session()[0]}\n" in makefile
