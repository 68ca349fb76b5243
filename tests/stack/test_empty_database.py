"""What commands say of a PostgreSQL that `up` has just made: it is empty, which is no error of its own."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize(
    ("command", "document"),
    [
        (("rejected", "list"), {"total": 0, "rejected": []}),
        (("rejected", "replay"), {"replayed": 0, "still_rejected": 0, "refused": [], "interrupted": False}),
    ],
    ids=["list", "replay"],
)
def test_where_nothing_was_stored_yet_nothing_was_rejected(
    run: Run, command: tuple[str, ...], document: dict[str, object]
) -> None:
    done = run(*command, "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout) == document


@pytest.mark.parametrize("command", ["evaluate", "score"])
def test_where_no_model_was_trained_yet_the_next_step_is_to_train_one(
    run: Run, tmp_path: Path, command: str
) -> None:
    data = tmp_path / "day.csv"
    data.write_text("user_id,timestamp,amount\nu-1,2025-03-01T10:30:00Z,12.5\n")
    of_file = ("--data", str(data), "--output", str(tmp_path / "scored.ndjson"))
    done = run(command, *(of_file if command == "score" else ()), "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["message"] == "No model is champion yet."
    assert "fraudstream train" in error["hint"]
