"""Rules and files with the real program: a stored history to try rules on, profiles to score a file with."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import answered
from fraudstream.settings import Settings
from fraudstream.store import registry, snapshot
from fraudstream.store.migrate import migrate
from model_world import ensemble, packed
from profile_world import messages, store

Run = Callable[..., "subprocess.CompletedProcess[str]"]

RULES = """\
- name: velocity
  condition: user_count_10m > 1.5
  reason: "{user_count_10m:.0f} payments within minutes"
  severity: high
- name: nothing
  condition: amount / 0 > 1
  reason: never
  severity: low
"""


def test_rules_are_tried_on_history_and_files_scored_with_its_profiles(
    run: Run, settings: Settings, tmp_path: Path
) -> None:
    """From messages to a back-test beside the champion, and on to decisions for a file of the next day.

    The days are always the same ones: how well a rule does depends on them.
    """
    world = ("--users", "300", "--fraud-rate", "0.02", "--seed", "7")
    dry = run(
        "produce", "--dry-run", "--days", "12", "--history-only", "--start", "2025-03-01T00:00:00Z", *world
    )
    history = dry.stdout.encode().splitlines()
    migrate(settings.postgres)
    store(settings.postgres, [messages(history)])
    trees = ensemble(("user_count_1h", 0.5, -2.0, 0.5), ("amount", 200.0, -1.0, 1.2))
    learnt = {"until": "2020-01-01T00:00:00Z"}
    manifest, archive = packed("1", trees, label_delay_days=7, training=learnt)
    registry.register(settings.postgres, manifest, archive)
    registry.promote(settings.postgres, "1")

    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    found = answered(run("rules", "backtest", str(rules), "--days", "9", "--json"))
    velocity, nothing = found["rules"]
    assert found["model_version"] == "1"
    assert 0 < found["transactions"] < len(history)
    assert found["days"] == pytest.approx(9)
    assert velocity["alerts"] > 0
    assert velocity["precision"] > 0.5
    assert 0 < velocity["recall"] < 1
    assert velocity["new_alerts"] <= velocity["alerts"]
    assert found["model"]["alerts"] > 0
    assert (nothing["alerts"], nothing["precision"]) == (0, None)

    made = run("produce", "--dry-run", "--count", "300", "--start", "2025-03-13T00:10:00Z", *world)
    (tmp_path / "tomorrow.ndjson").write_text(made.stdout)
    arguments = ("score", "--data", "tomorrow.ndjson")
    alone = [json.loads(line) for line in run(*arguments).stdout.splitlines()]
    remembering = run(*arguments, "--profiles", "--output", "scored.ndjson", "--json")
    summary = answered(remembering)
    assert "counted twice" not in remembering.stderr
    scored = [json.loads(line) for line in (tmp_path / "scored.ndjson").read_text().splitlines()]
    assert (len(alone), len(scored), summary["decisions"], summary["model_version"]) == (300, 300, 300, "1")
    held = snapshot.profiles(settings.postgres, {"user": ("last_at", "count_1h")}).profiles["user"]
    assert held.num_rows > 200
    seen = {d["transaction_id"]: d["features"]["user_count_1h"] for d in scored}
    before = {d["transaction_id"]: d["features"]["user_count_1h"] for d in alone}
    assert all(seen[name] >= before[name] for name in before)
    assert sum(seen.values()) > sum(before.values())

    # A file whose transactions may have been consumed already is scored, and its reader warned.
    (tmp_path / "past.ndjson").write_text(run("produce", "--dry-run", "--count", "9", *world).stdout)
    assert "the overlap is counted twice" in run("score", "--data", "past.ndjson", "--profiles").stderr


def test_a_rule_with_a_typo_is_shown_by_line_and_column(run: Run, tmp_path: Path) -> None:
    """By the program, from Spark's own parser, in one JSON document and with nothing of Spark's on stderr."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES.replace("amount / 0 > 1", "amount > 10 and\n    user_cnt_10m > 5"))
    done = run("rules", "check", str(rules), "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "rules"
    assert error["mistakes"] == [
        {
            "rule": "nothing", "line": 7, "column": 5,
            "message": "there is no column user_cnt_10m; did you mean user_count_10m?",
        }
    ]  # fmt: skip
    assert "org.apache" not in done.stderr


def test_what_is_missing_is_said_before_spark_starts(run: Run, tmp_path: Path) -> None:
    """No rules set, no history, no champion: a sentence and the next step each."""
    unset = run("rules", "check", "--json")
    assert "No rules are set" in json.loads(unset.stdout)["error"]["message"]
    assert "rules example" in json.loads(unset.stdout)["error"]["hint"]
    shown = run("rules", "example")
    (tmp_path / "rules.yaml").write_text(shown.stdout)
    history = run("rules", "backtest", "rules.yaml", "--json")
    assert json.loads(history.stdout)["error"]["message"] == "PostgreSQL has no transactions yet."
    (tmp_path / "some.csv").write_text("user_id,timestamp,amount\nu,2024-05-01,1\n")
    unscored = run("score", "--data", "some.csv", "--output", "scored.ndjson", "--json")
    assert "No model is champion yet" in json.loads(unscored.stdout)["error"]["message"]
    assert {done.returncode for done in (unset, history, unscored)} == {1}
    assert "starting Spark" not in unset.stderr + history.stderr + unscored.stderr
