"""The live scorer as a real process, with real services that go away: every message is answered."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from campaign.clock import Clock
from fraudstream import kafka
from fraudstream.local.home import Home
from fraudstream.local.kafka import EmbeddedKafka
from fraudstream.local.postgres import EmbeddedPostgres
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.spark.consumer import Consumer
from fraudstream.store import registry
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate
from http_get import get, served_at
from live_scorer import Topics, kill, promote, scorer
from model_world import ensemble, packed
from samples import BAD
from waiting import wait_until

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REFUSED = [value for value, reason in BAD.values() if reason != "is_fraud"]
"""The scorer never looks at the truth."""

TRIGGER = 5
"""Seconds: Spark takes no less."""

WELL = "score is healthy; 0 messages are waiting.\n"


@pytest.fixture
def live(breakable: Any) -> Iterator[Topics]:
    """Breakable services with topics and an empty database of this test's own."""
    name = f"live-{secrets.token_hex(4)}"
    topics = Topics(breakable.emptied(transactions_topic=name, scored_topic=f"{name}-scored", partitions=2))
    yield topics
    topics.close()


def environment_of(breakable: Any, topics: Topics) -> dict[str, str]:
    chosen: dict[str, str] = breakable.environment
    return chosen | {
        "FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC": topics.settings.kafka.transactions_topic,
        "FRAUDSTREAM_KAFKA__SCORED_TOPIC": topics.settings.kafka.scored_topic,
        "FRAUDSTREAM_SCORE__TRIGGER_SECONDS": str(TRIGGER),
    }


def figure(address: str, name: str) -> float:
    """What /metrics says of `name` now; NaN where there was nothing to measure lately."""
    lines = get(f"{address}/metrics")[1].splitlines()
    (found,) = (line for line in lines if line.startswith(f"fraudstream_{name} "))
    return float(found.rsplit(" ", 1)[1])


def decide_without_postgres(breakable: Any, live: Topics, log: Path, address: str) -> None:
    """PostgreSQL goes away for three triggers and comes back; decisions go on, and log and health say by what."""
    server = EmbeddedPostgres(Home.of(breakable.home)).process()
    assert server is not None
    server.send(signal.SIGQUIT)
    assert server.wait(30)
    wait_until(lambda: "Scoring continues with the profiles of" in log.read_text(), "word of it", log)
    away = time.monotonic()
    while time.monotonic() < away + 3 * TRIGGER:
        live.await_answers(live.send(20), log)
    wait_until(lambda: "PostgreSQL is unavailable" in get(f"{address}/healthz")[1], "a remark on health", log)
    assert get(f"{address}/healthz")[0] == 200, "it decides, so nobody need be woken"
    assert "PostgreSQL answers again" not in log.read_text(), "a turn that asks nothing learns nothing"
    breakable.up()
    wait_until(lambda: "PostgreSQL answers again" in log.read_text(), "word of its return", log)
    wait_until(lambda: get(f"{address}/healthz") == (200, WELL), "health", log)
    live.await_answers(live.send(100), log)


def kill_under_load(live: Topics, environment: dict[str, str], log: Path, process: "psutil.Popen") -> None:
    """Kill -9 of the scorer, and of the one that goes on in its place, while messages come all the time."""
    with live.flowing():
        live.await_answers(live.sent[-1:], log)
        kill(process)
        with scorer(environment, log) as successor:
            live.await_answers(live.sent[-1:], log)
            kill(successor)


def test_every_message_is_answered_whatever_is_killed_and_the_first_answer_is_stored_once(
    spark: "SparkSession", breakable: Any, live: Topics, tmp_path: Path
) -> None:
    """Bad messages, a promotion, PostgreSQL away, the scorer killed, the broker killed, the topic made anew."""
    log, environment, postgres = tmp_path / "log", environment_of(breakable, live), live.settings.postgres
    history = live.send(20)
    promote(postgres, "first")
    with scorer(environment, log, "--metrics-port", "0") as process:
        address = served_at(next(line for line in log.read_text().splitlines() if "health at" in line))
        live.send_bad(REFUSED)
        live.await_answers(live.send(200), log)
        assert not set(history) & live.answers.keys(), "a new scorer begins with what comes, not with history"
        live.await_refusals(log)
        for decisions in live.answers.values():
            assert {d.flagged for d in decisions} == {d.amount > 100 for d in decisions}

        promote(postgres, "second")

        def second() -> bool:
            live.await_answers(names := live.send(5), log)
            return all(live.answers[name][0].model_version == "second" for name in names)

        wait_until(second, "decision by the new champion", log)

        decide_without_postgres(breakable, live, log, address)
        assert figure(address, "decisions_refused_total") == live.bad
        live.send(50)
        wait_until(lambda: figure(address, 'decision_latency_seconds{quantile="0.99"}') > 0, "latency", log)
        kill_under_load(live, environment, log, process)
    live.send(100)
    with scorer(environment, log) as process:
        live.await_answers(live.sent[len(history) :], log)

        broker = EmbeddedKafka(Home.of(breakable.home)).process()
        assert broker is not None
        broker.send(signal.SIGKILL)
        assert broker.wait(30)
        breakable.up()
        live.await_answers(live.send(100), log)

        admin, name = kafka.admin(live.settings.kafka), live.settings.kafka.transactions_topic
        admin.delete_topics([name], operation_timeout=30)[name].result(30)
        wait_until(lambda: kafka.find_topic(live.settings.kafka, name, admin) is None, "deletion")
        kafka.ensure_topic(live.settings.kafka, name)
        live.await_answers(live.send(100), log)

        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130, log.read_text()
    assert "Traceback" not in log.read_text()
    summary = json.loads(log.with_suffix(".json").read_text())
    assert summary["decisions"] >= 300
    assert (summary["mode"], summary["model_version"], summary["partitions"]) == ("realtime", "second", 2)
    consumer = Consumer(spark, live.settings)
    consumer.run(("scores",), once=True, stop=threading.Event())
    with connect(postgres) as connection:
        rows = connection.execute("select transaction_id from shop.scores order by 1").fetchall()
    live.read()
    sent = sorted(live.sent[len(history) :])
    assert [name for (name,) in rows] == sorted(live.answers) == sent


@pytest.mark.skipif(shutil.which("cc") is None, reason="a clock of its own needs a C compiler")
def test_a_clock_that_is_set_back_delays_neither_answers_nor_offsets(
    breakable: Any, live: Topics, tmp_path: Path
) -> None:
    """Spark ends a batch at a time of day, which then is two hours away."""
    log, clock = tmp_path / "log", Clock.build(tmp_path)
    clock.put(7200)
    environment = environment_of(breakable, live) | {
        "LD_PRELOAD": str(clock.library),
        "FRAUDSTREAM_METRICS__STALLED_SECONDS": "5",
    }
    promote(live.settings.postgres, "m")
    with scorer(environment, log):
        live.await_answers(live.send(50), log)
        clock.put(0)
        live.await_answers(live.send(50), log)
        wait_until(lambda: answered(live.settings.postgres) == 100, "stored offsets", log)
        assert "was the clock set back?" in log.read_text()


def answered(postgres: PostgresSettings) -> int:
    """How many messages the stored offsets of the scorer have left behind."""
    with connect(postgres) as connection:
        found = connection.execute(
            "select coalesce(sum(next_offset), 0)::int from shop.stream_offsets where target = 'score'"
        ).fetchone()
    return 0 if found is None else int(found[0])


def test_a_scorer_that_looks_up_waits_for_postgres_and_answers_everything(
    breakable: Any,
    live: Topics,
    tmp_path: Path,
) -> None:
    """Micro-batches from the beginning; PostgreSQL stops at once and comes back: no decision is made up, none is missing."""
    migrate(live.settings.postgres)
    registry.register(
        live.settings.postgres,
        *packed("own", ensemble(("amount", 100.0, -3.0, 3.0), ("user_count_1d", 2.0, -1.0, 1.0))),
    )
    registry.promote(live.settings.postgres, "own")
    log = tmp_path / "log"
    environment = environment_of(breakable, live) | {"FRAUDSTREAM_SCORE__PROFILES": "lookup"}
    live.send(200)
    live.send_bad(REFUSED)
    with scorer(environment, log, "--mode", "microbatch", "--from-beginning") as process:
        live.await_answers(live.sent, log)
        live.await_refusals(log)
        with connect(live.settings.postgres) as connection:
            query = (
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and backend_type = 'client backend'"
            )
            (connections,) = connection.execute(query).fetchone() or (0,)
            assert 2 < connections < 8, "one for each partition, not for each of Spark's threads"
        server = EmbeddedPostgres(Home.of(breakable.home)).process()
        assert server is not None
        server.send(signal.SIGQUIT)
        assert server.wait(30)
        wait_until(lambda: "Decisions wait for it" in log.read_text(), "word of it", log)
        missed = live.send(100)
        live.read()
        assert not live.answers.keys() & set(missed)
        breakable.up()
        live.await_answers(missed, log)
        promote(live.settings.postgres, "second")
        wait_until(lambda: "model second now makes the decisions" in log.read_text(), "promotion", log)
        live.await_answers(live.send(50), log)
        with connect(live.settings.postgres) as connection:
            query = "select sum(end_offset), count(*) from shop.stream_progress where stream = 'score'"
            everything = (350 + live.bad, 2)
            wait_until(lambda: connection.execute(query).fetchone() == everything, "how far it came", log)
        replace_topic_unseen(live, process, log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 130, log.read_text()
    summary = json.loads(log.with_suffix(".json").read_text())
    assert summary["handovers"] == 1, "newer profiles need none"
    assert summary["refused"] == live.bad


def replace_topic_unseen(live: Topics, process: psutil.Popen, log: Path) -> None:
    """Make the topic anew, longer than it was, while Spark is held up: all of it is answered.

    By its offsets nothing is missing, so Spark went on in it where the old one ended.
    """
    admin, name = kafka.admin(live.settings.kafka), live.settings.kafka.transactions_topic
    (java,) = (member for member in process.children(recursive=True) if member.name() == "java")
    java.suspend()
    admin.delete_topics([name], operation_timeout=30)[name].result(30)
    wait_until(lambda: kafka.find_topic(live.settings.kafka, name, admin) is None, "deletion")
    kafka.ensure_topic(live.settings.kafka, name)
    missed = live.send(1_000)
    java.resume()
    live.await_answers(missed, log)


@pytest.fixture
def fails(
    settings: Settings, run: Callable[..., "subprocess.CompletedProcess[str]"]
) -> Callable[..., dict[str, Any]]:
    """Runs `score`, which must fail before Spark starts; returns the error that it says."""

    def fails(*arguments: str) -> dict[str, Any]:
        done = run("score", "--json", *arguments)
        assert done.returncode == 1, done.stdout
        assert "starting Spark" not in done.stderr
        error: dict[str, Any] = json.loads(done.stdout)["error"]
        return error

    assert settings
    return fails


def test_without_a_usable_model_it_says_so_and_starts_nothing(
    settings: Settings, fails: Callable[..., dict[str, Any]]
) -> None:
    """No champion yet; one of features that do not exist here; one without trees in real time; altered bytes."""
    error = fails()
    assert error["message"] == "No model is champion yet."
    assert "fraudstream train" in error["hint"]

    manifest, artifact = packed("alien", None, ("amount", "moon_phase"))
    registry.register(settings.postgres, manifest, artifact)
    registry.promote(settings.postgres, "alien")
    assert "moon_phase" in fails()["message"]

    registry.register(settings.postgres, *packed("treeless", None))
    registry.promote(settings.postgres, "treeless")
    assert "--mode microbatch" in fails()["hint"]

    promote(settings.postgres, "good")
    with connect(settings.postgres) as connection:
        connection.execute("update shop.models set artifact = artifact || '\\x00' where version = 'good'")
    assert "was altered" in fails()["message"]


def test_a_mistake_in_the_rules_is_pointed_at_and_starts_nothing(
    settings: Settings, fails: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """Line and column, before anything is scored."""
    migrate(settings.postgres)
    promote(settings.postgres, "good")
    rules = tmp_path / "rules.yaml"
    rules.write_text("- name: one\n  condition: amount > 5\n  reason: big\n  severity: enormous\n")
    error = fails("--rules", os.fspath(rules))
    assert (error["mistakes"][0]["line"], error["mistakes"][0]["column"]) == (4, 13)
