"""The same program on a real Spark cluster: a master and two workers, reached by one setting."""

import json
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import psutil
import pytest

from fraudstream.settings import Settings
from fraudstream.spark.session import COMPILE_ALL
from fraudstream.store.connection import connect
from fraudstream.store.migrate import migrate
from live_scorer import Topics, kill, promote, scorer
from spark_cluster import LOOPBACK, Cluster, cluster
from waiting import wait_until

Run = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """The driver listens where master and workers do, whatever this machine's name means."""
    return environment | {"SPARK_LOCAL_IP": LOOPBACK}


@pytest.fixture(scope="module")
def spark_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for the tests of this file."""
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


def test_a_cluster_stores_every_message_once_from_its_executors(
    spark_cluster: Cluster, settings: Settings, run: Run, environment: dict[str, str]
) -> None:
    """`consume --once` with FRAUDSTREAM_SPARK__MASTER: both workers ran executors, and every row is there."""
    sent = json.loads(run("produce", "--count", "6000", "--rate", "max", "--json").stdout)["sent"]
    there = environment | {"FRAUDSTREAM_SPARK__MASTER": spark_cluster.master}
    stored = run("consume", "--once", "--json", env=there)
    assert stored.returncode == 0, stored.stderr
    targets = json.loads(stored.stdout)["targets"]
    assert targets["transactions"]["stored"] + targets["fraud"]["stored"] == sent == 6000
    assert targets["profiles"]["stored"] == sent
    with connect(settings.postgres) as connection:
        rows = connection.execute(
            "select count(distinct transaction_id) from"
            " (select transaction_id from shop.transactions union all"
            "  select transaction_id from shop.fraud_transactions) as t"
        ).fetchone()
    assert rows == (sent,)
    assert len({executor.parent.parent.name for executor in spark_cluster.executors()}) == 2
    # No secret on a command line of the cluster, and none in what executors wrote.
    secret = settings.postgres.secret()
    assert secret is not None
    written = [path.read_text(errors="replace") for e in spark_cluster.executors() for path in e.glob("std*")]
    assert written
    assert sum(COMPILE_ALL in text for text in written) == 2, "each executor compiles what Spark writes"
    assert not any(secret.get_secret_value() in text for text in written)


def test_a_cluster_scores_every_message_and_hands_over_between_its_executors(
    spark_cluster: Cluster, settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """`score` with FRAUDSTREAM_SPARK__MASTER: two partitions, two slots each; the second query answers like the first."""
    own = {"transactions_topic": f"cluster-{secrets.token_hex(4)}", "partitions": 2}
    settings = settings.model_copy(update={"kafka": settings.kafka.model_copy(update=own)})
    there = environment | {
        "FRAUDSTREAM_SPARK__MASTER": spark_cluster.master,
        "FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC": settings.kafka.transactions_topic,
        "FRAUDSTREAM_KAFKA__PARTITIONS": "2",
        "FRAUDSTREAM_SCORE__TRIGGER_SECONDS": "10",
    }
    migrate(settings.postgres)
    promote(settings.postgres, "first")
    before, log = set(spark_cluster.executors()), tmp_path / "log"
    live = Topics(settings)
    live.send(500)
    with scorer(there, log, "--from-beginning") as process:
        live.await_answers(live.sent, log)
        promote(settings.postgres, "second")
        # Both queries answer for a while before the first is relieved, and only then was anything handed over.
        while "model second now makes the decisions" not in log.read_text():
            live.await_answers(live.send(20), log)
        while not any(live.answers[name][0].model_version == "second" for name in live.sent):
            live.await_answers(live.send(20), log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 130, log.read_text()
    live.close()
    assert json.loads(log.with_suffix(".json").read_text())["handovers"] >= 1
    ran = set(spark_cluster.executors()) - before
    assert len({executor.parent.parent.name for executor in ran}) == 2
    said = "".join((executor / "stderr").read_text() for executor in ran)
    assert " INFO " not in said
    assert "Job 0 cancelled" not in said, (
        "a relieved query is no news: a page of it every few seconds filled disks"
    )
    assert "Aborting commit" not in said


def test_a_stream_goes_on_when_the_master_of_its_cluster_was_killed_and_started_again(
    spark_cluster: Cluster, settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """The master finds driver and workers again by what it wrote down; else the driver would wait for executors for ever."""
    migrate(settings.postgres)
    live, log = Topics(settings), tmp_path / "log"
    there = environment | {"FRAUDSTREAM_SPARK__MASTER": spark_cluster.master}
    command = [sys.executable, "-m", "fraudstream", "consume", "transactions"]
    with log.open("wb") as errors:
        process = psutil.Popen(command, env=there, cwd=tmp_path, stdout=errors, stderr=errors)
    try:
        live.send(50)
        wait_until(lambda: stored(settings) == 50, "row", log)
        ran = len(spark_cluster.executors())
        spark_cluster.restart_master()
        master = spark_cluster.work / "master.log"
        wait_until(lambda: "Recovery complete" in master.read_text(), "recovery", log)
        live.send(50)
        wait_until(lambda: stored(settings) == 100, "row", log)
        assert len(spark_cluster.executors()) == ran, "by the executors that it had"
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 130, log.read_text()
    finally:
        kill(process)
        live.close()


def stored(settings: Settings) -> int:
    """Transactions that are stored."""
    with connect(settings.postgres) as connection:
        return int(connection.execute("select count(*) from shop.transactions").fetchall()[0][0])


def test_a_scorer_that_a_cluster_gives_no_slot_is_ended_by_a_signal_and_spark_says_what_it_waits_for(
    settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """A master without workers: the first job waits for ever, and SIGTERM ends the command in order all the same."""
    migrate(settings.postgres)
    promote(settings.postgres, "waiting")
    log, home = tmp_path / "log", tmp_path / "home"
    with cluster(tmp_path, workers=0) as empty, log.open("wb") as errors:
        there = environment | {
            "FRAUDSTREAM_SPARK__MASTER": empty.master,
            "FRAUDSTREAM_HOME": str(home),
            # Spark says so after 15 s by itself.
            "SPARK_SUBMIT_OPTS": f"{os.environ['SPARK_SUBMIT_OPTS']} -Dspark.starvation.timeout=1s",
        }
        command = [sys.executable, "-m", "fraudstream", "score"]
        process = psutil.Popen(command, env=there, cwd=tmp_path, stdout=errors, stderr=errors)
        try:
            said = home / "logs" / "spark-score.log"
            wait_until(
                lambda: said.exists() and "Initial job has not accepted any resources" in said.read_text(),
                "a word of Spark",
                log,
            )
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 130, log.read_text()
        finally:
            kill(process)
    assert "Traceback" not in log.read_text()


def test_a_master_that_does_not_answer_is_named(run: Run, environment: dict[str, str]) -> None:
    """A wrong port: one sentence with the setting to check, and none of the minute that Spark takes to give up."""
    there = environment | {"FRAUDSTREAM_SPARK__MASTER": "spark://127.0.0.1:9"}
    result = run("consume", "--once", "--json", env=there)
    assert result.returncode == 1
    error = json.loads(result.stdout)["error"]
    assert error["message"] == "No Spark master answers at spark://127.0.0.1:9."
    assert "FRAUDSTREAM_SPARK__MASTER" in error["hint"]
