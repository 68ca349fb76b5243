"""From a simulated history in Kafka to a judged, registered model, with the real program."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commands import answered, printed
from documents import lacking
from feature_world import world
from fraudstream.cli import inputs, memory
from fraudstream.errors import InputError
from fraudstream.settings import Settings
from fraudstream.spark.consume import consume
from fraudstream.store import labels
from fraudstream.store.migrate import migrate
from fraudstream.store.targets import TARGETS
from profile_world import messages, store
from samples import message

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_history_becomes_a_model_that_beats_both_baselines(
    spark: "SparkSession", settings: Settings, run: Run, call: Run, tmp_path: Path
) -> None:
    """`produce --days`, `consume`, `train` without a file; the first model is champion, the second one waits.

    The days are always the same ones: what a model reaches depends on them.
    """
    made = run(
        "produce", "--days", "45", "--history-only", "--start", "2025-03-01T00:00:00Z", "--users", "600",
        "--fraud-rate", "0.01", "--json",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    stored = consume(spark, settings, tuple(TARGETS), once=True, stop=threading.Event()).stored
    sent = json.loads(made.stdout)["sent"]
    assert stored["transactions"] + stored["fraud"] == stored["profiles"] == sent

    curve = tmp_path / "curve.png"
    trained = run("train", "--algorithm", "isolation_forest", "--curve", str(curve), "--json")
    assert trained.returncode == 0, trained.stderr
    report = json.loads(trained.stdout)
    assert lacking("train", report) == []
    reached = report["metrics"]["average_precision"]
    assert reached > report["baselines"]["amount"]["average_precision"]
    assert reached > report["baselines"]["random"]["average_precision"]
    assert report["folds"]
    assert report["threshold"] > 0
    assert curve.read_bytes().startswith(b"\x89PNG")

    again = run("train", "--algorithm", "isolation_forest", "--features", "seed", "--json")
    assert again.returncode == 0, again.stderr
    second = json.loads(again.stdout)
    assert second["features"] == ["amount", "device_freq", "location_change"]
    listed = answered(call("models", "list", "--json"))["models"]
    assert {model["version"]: model["status"] for model in listed} == {
        report["version"]: "champion", second["version"]: "candidate",
    }  # fmt: skip
    printed(call("models", "promote", second["version"]))
    printed(call("models", "rollback"))
    assert answered(call("models", "show", "--json"))["version"] == report["version"]

    # Nothing later than what it learned from is stored: judging it on that would flatter it, and is refused.
    judged = run("evaluate", "--json")
    assert judged.returncode == 1
    assert "is left to evaluate it on" in json.loads(judged.stdout)["error"]["message"]


def test_an_empty_database_trains_nothing_and_says_how_to_fill_it(run: Run, call: Run) -> None:
    result = run("train", "--json")
    assert result.returncode == 1
    error = json.loads(result.stdout)["error"]
    assert error["message"] == "PostgreSQL has no transactions yet."
    assert "fraudstream produce" in error["hint"]
    assert answered(call("models", "list", "--json")) == {"models": []}


SCARCE = """
import sys, types, psutil
psutil.virtual_memory = lambda: types.SimpleNamespace(available=100_000)
from fraudstream.cli.main import main
main()
"""


def test_a_history_that_does_not_fit_into_memory_is_refused_before_it_is_read(
    settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """The kernel would end the command with one word."""
    migrate(settings.postgres)
    rows = [message(transaction_id=f"t{n}") for n in range(2000)]
    store(settings.postgres, [messages(rows)], ("transactions",))
    command = [sys.executable, "-c", SCARCE, "train"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert re.search(r"Error: About [\d,]+ transactions need", done.stderr)
    assert "--since 90d" in done.stderr


def test_the_last_months_of_a_history_that_is_too_long_are_read_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is needed for them alone, and what people said replaces what came with the message."""
    migrate(settings.postgres)
    now = datetime.now(UTC)
    values = [
        message(transaction_id=f"t{n}", timestamp=(now - timedelta(days=days)).isoformat(), is_fraud=n % 2)
        for n, days in enumerate([1, 2, 3, *[400] * 100])
    ]
    store(settings.postgres, [messages(values)], ("transactions", "fraud"))
    labels.label(settings.postgres, "t0", is_fraud=True, by="ada")
    monkeypatch.setattr(inputs, "database", lambda: settings.postgres)
    monkeypatch.setattr(memory, "available", lambda _: 50 * memory.BYTES_PER_ROW)
    with pytest.raises(InputError, match="About 103 transactions need"):
        inputs.transactions(None, None)
    rows, _ = inputs.transactions(None, None, now - timedelta(days=180))
    found = rows.select(["transaction_id", "is_fraud"]).to_pylist()
    assert [(row["transaction_id"], row["is_fraud"]) for row in found] == [
        ("t2", False),
        ("t1", True),
        ("t0", True),
    ]
    with pytest.raises(InputError, match="has no transactions since"):
        inputs.transactions(None, None, now)


def test_a_file_is_read_completely_so_a_start_for_it_is_refused(run: Run, tmp_path: Path) -> None:
    """Ignored, it would seem to have taken effect; `evaluate` of a file of scores takes another path."""
    for command in (("train",), ("evaluate",), ("evaluate", "--model", str(tmp_path))):
        done = run(*command, "--data", "months.csv", "--since", "90d")
        assert done.returncode == 2
        assert "--since is for what is stored in PostgreSQL." in done.stderr


def test_a_model_of_another_label_delay_than_the_live_one_is_told_when_it_is_registered(
    run: Run, tmp_path: Path
) -> None:
    """It is registered all the same, and can be judged on what came later."""
    history = tmp_path / "history.parquet"
    pq.write_table(world(3_000, seed=3, days=40), history)
    train = ("train", "--data", str(history), "--algorithm", "random_forest", "--features")
    told = run(*train, "amount,merchant_risk_30d", "--label-delay-days", "1", "--json")
    assert told.returncode == 0, told.stderr
    assert told.stderr.count("FRAUDSTREAM_MODEL__LABEL_DELAY_DAYS") == 1
    assert "LABEL_DELAY_DAYS" not in run(*train, "amount,merchant_risk_30d").stderr

    later = world(3_000, seed=4, days=40)
    moved = pa.compute.add(later["timestamp"], pa.scalar(timedelta(days=40)))
    later = later.drop_columns("labelled_at").set_column(2, "timestamp", moved)
    pq.write_table(later, tmp_path / "later.parquet")
    version = json.loads(told.stdout)["version"]
    judged = run("evaluate", "--model", version, "--data", str(tmp_path / "later.parquet"), "--json")
    assert judged.returncode == 0, judged.stderr
    assert lacking("evaluate", json.loads(judged.stdout)) == []
    assert json.loads(judged.stdout)["version"] == version
