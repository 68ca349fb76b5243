"""The figures of `health` for Prometheus, and the alarms on them and on those of the streams."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fraudstream.cli.health import _Look
from fraudstream.metrics import ConsumeMonitor, ConvertMonitor, Figures, ProduceMonitor, ScoreMonitor
from fraudstream.settings import PostgresSettings
from fraudstream.store import health
from fraudstream.store.figures import figures
from fraudstream.store.health import AlertRate, Snapshot
from fraudstream.store.pipeline import Progress
from health_snapshots import DAY, NOTHING, WELL

ROOT = Path(__file__).parents[2]
ALARMS = ROOT / "prometheus" / "alarms.yaml"
TESTS = sorted(ALARMS.parent.glob("*_test.yaml"))
PROMTOOL = shutil.which(os.environ.get("PROMTOOL", "promtool"))


def exported(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The figures of the streams, and those of `health` where everything was measured."""
    monkeypatch.setattr(health, "snapshot", lambda _: WELL)
    looks = [Figures(_Look(PostgresSettings()).figures)]
    monitors = (ConsumeMonitor(), ScoreMonitor(), ProduceMonitor(), ConvertMonitor())
    streams = [monitor.registry for monitor in monitors]
    families = [family for collector in (*streams, *looks) for family in collector.collect()]
    return {f.name + "_total" * (f.type == "counter") for f in families if f.name.startswith("fraudstream_")}


def test_every_figure_stands_on_the_page_of_operations_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert exported(monkeypatch) == set(re.findall(r"\bfraudstream_\w+", page))


def test_prometheus_has_a_rule_for_every_alarm_of_the_page_and_knows_every_figure_of_its_rules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups = yaml.safe_load(ALARMS.read_text(encoding="utf-8"))["groups"]
    rules = " ".join(rule["expr"] for group in groups for rule in group["rules"])
    figures = set(re.findall(r"\bfraudstream_\w+", rules))
    assert figures <= exported(monkeypatch)
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("| watch | alarm when | what to do |\n|---|---|---|\n")[2].partition("\n\n")[0]
    watched = {re.findall(r"\w+", row.split(" | ")[0])[0] for row in table.splitlines()}
    assert len(watched) > 15
    assert watched - {"up"} <= figures
    assert 'up{job="fraudstream"}' in rules


def test_figures_of_one_name_follow_each_other_and_unmeasured_ones_are_left_out() -> None:
    """As Prometheus wants them."""
    two = [*WELL.streams, Progress("score", "transactions", 0, 1, 1, 9.0, DAY, 1.0)]
    names = [figure.name for figure in figures(replace(WELL, streams=two))]
    runs = [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]
    assert len(runs) == len(set(runs))
    assert {"alert_precision", "score_drift_psi", "lag_messages", "heartbeat_age_seconds"} <= set(names)
    left = {figure.name: figure.value for figure in figures(NOTHING) if figure.name != "finding_ok"}
    assert left == {"recent_alerts": 0, "rejected_waiting": 0}


def test_a_stream_is_stalled_for_prometheus_when_it_is_for_itself() -> None:
    """Each has its own patience, as a batch may take minutes by its settings; an older version wrote none down."""
    consume, other = (
        Progress(name, "t", part, 1, 9, 0.0, DAY, 3.0, 200.0, patience)
        for name, part, patience in (("consume", 0, 260.0), ("score", 0, None))
    )
    patiences = [
        (figure.labels, figure.value)
        for figure in figures(replace(WELL, streams=[consume, other]))
        if figure.name == "patience_seconds"
    ]
    assert patiences == [({"stream": "consume", "topic": "t"}, 260.0)]


def test_prometheus_hears_of_every_finding_and_the_worst_of_two_with_one_name() -> None:
    """A system without a model, or whose model flags nothing, was in no figure that an alarm could watch."""

    def told(found: Snapshot) -> dict[str, float]:
        said = [(f.labels["name"], f.value) for f in figures(found) if f.name == "finding_ok"]
        assert len(dict(said)) == len(said), "Prometheus refuses a sample that comes twice"
        return dict(said)

    assert told(NOTHING) == {"model": 0, "alerts": 1}
    none = told(replace(WELL, pace=AlertRate(100_000, 0)))
    assert none == {"stream consume": 1, "latency": 1, "model": 1, "alert rate": 0, "alerts": 1, "drift": 1}
    stuck = Progress("consume", "a", 0, 10, 17, 0.0, DAY, 3.0, 95.0, 90.0)
    assert told(replace(WELL, streams=[stuck, *WELL.streams]))["stream consume"] == 0


def test_every_alarm_sounds_in_one_of_their_tests() -> None:
    """A rule that never sounds is as good as one that nothing is wrong with."""
    rules, *tested = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ALARMS, *TESTS))
    alarms = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    cases = [case for tests in tested for test in tests["tests"] for case in test["alert_rule_test"]]
    assert len(set(alarms)) == len(alarms)
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(alarms)


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool of Prometheus on the path, or named by PROMTOOL")
def test_the_alarms_sound_when_they_should_and_are_silent_otherwise() -> None:
    assert PROMTOOL is not None
    command = [PROMTOOL, "test", "rules", *map(str, TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
