"""The same program on a real Spark cluster: a master and two workers, reached by one setting."""

import json
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import chain, pairwise
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from fault_world import assert_profiles, query
from fraudstream.settings import Settings
from fraudstream.spark.session import COMPILE_ALL
from fraudstream.store.migrate import migrate
from live_scorer import Topics, command, promote, scorer
from spark_cluster import LOOPBACK, Cluster, cluster
from waiting import HANG_SECONDS, wait_until

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


def test_a_cluster_stores_every_message_once_from_its_executors_though_its_master_was_killed_and_started_again(
    spark_cluster: Cluster, settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """`consume` with FRAUDSTREAM_SPARK__MASTER: both workers run executors, and no secret of ours.

    The master finds driver and workers again by what it wrote down; else the driver would wait for executors for ever.
    If a worker registers again before the master has recovered it, Spark replaces its executor, and the stream goes on.
    """
    migrate(settings.postgres)
    live, log, before = Topics(settings), tmp_path / "log", set(spark_cluster.executors())
    live.send(6000)
    with command(environment | master_of(spark_cluster), log, "consume") as process:
        wait_until(lambda: stored(settings) == 6000, "row of every message", log)
        ran = set(spark_cluster.executors()) - before
        assert len({executor.parent.parent.name for executor in ran}) == 2
        # No secret on a command line of the cluster, and none in what executors wrote.
        secret = settings.postgres.secret()
        assert secret is not None
        written = [path.read_text(errors="replace") for e in ran for path in e.glob("std*")]
        assert written
        assert sum(COMPILE_ALL in text for text in written) == 2, "each executor compiles what Spark writes"
        assert not any(secret.get_secret_value() in text for text in written)
        spark_cluster.restart_master()
        master = spark_cluster.work / "master.log"
        wait_until(lambda: "Recovery complete" in master.read_text(), "recovery", log)
        live.send(50)
        wait_until(lambda: stored(settings) == 6050, "row of every message", log)
        now = set(spark_cluster.executors()) - before
        assert {e.parent.name for e in now} == {e.parent.name for e in ran}, "by the application that it was"
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_SECONDS) == 130, log.read_text()
    live.close()
    names = query(settings, "select transaction_id from shop.transactions order by 1")
    assert [name for (name,) in names] == live.sent
    assert_profiles(settings.postgres, labels=False)


def master_of(spark_cluster: Cluster) -> dict[str, str]:
    """The one setting that reaches a cluster."""
    return {"FRAUDSTREAM_SPARK__MASTER": spark_cluster.master}


def stored(settings: Settings) -> int:
    """Transactions that are stored."""
    return int(query(settings, "select count(*) from shop.transactions")[0][0])


def test_a_cluster_scores_every_message_and_hands_over_between_its_executors(
    spark_cluster: Cluster, settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """`score` with FRAUDSTREAM_SPARK__MASTER: two partitions, two slots each: the second query answers while the first does."""
    own = {"transactions_topic": f"cluster-{secrets.token_hex(4)}", "partitions": 2}
    settings = settings.model_copy(update={"kafka": settings.kafka.model_copy(update=own)})
    there = (
        environment
        | master_of(spark_cluster)
        | {
            "FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC": settings.kafka.transactions_topic,
            "FRAUDSTREAM_SCORE__TRIGGER_SECONDS": "10",
        }
    )
    migrate(settings.postgres)
    promote(settings.postgres, VERSIONS[0])
    before, log = set(spark_cluster.executors()), tmp_path / "log"
    live = Topics(settings)
    live.send(500)
    with scorer(there, log, "--from-beginning") as process:
        live.await_answers(live.sent, log)
        for before_it, version in pairwise(VERSIONS):
            promote(settings.postgres, version)
            while f"model {version} now makes the decisions" not in log.read_text():
                live.await_answers(live.send(20), log)
            if overlapped := overlap(live, before_it, version):
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_SECONDS) == 130, log.read_text()
    live.close()
    summary = json.loads(log.with_suffix(".json").read_text())
    assert (summary["partitions"], overlapped) == (2, True)
    ran = set(spark_cluster.executors()) - before
    assert len({executor.parent.parent.name for executor in ran}) == 2
    said = "".join((executor / "stderr").read_text() for executor in ran)
    assert " INFO " not in said
    assert "Job 0 cancelled" not in said, (
        "a relieved query is no news: a page of it every few seconds filled disks"
    )
    assert "Aborting commit" not in said


VERSIONS = ("first", "second", "third", "fourth", "fifth")
"""Two queries run side by side for a second at the least, in which a busy machine may do something else."""


def overlap(live: Topics, before: str, after: str) -> bool:
    """Whether the query of a model answered while the one of the model before it still did."""
    live.read()
    spoken: dict[str, list[datetime]] = {before: [], after: []}
    for decision in chain.from_iterable(live.answers.values()):
        spoken.get(decision.model_version, []).append(decision.scored_at)
    return bool(spoken[after]) and min(spoken[after]) < max(spoken[before])


def test_a_scorer_that_a_cluster_gives_no_slot_is_ended_by_a_signal_and_spark_says_what_it_waits_for(
    spark_cluster: Cluster, settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """Executors larger than any worker: the first job waits for ever, and SIGTERM ends the command in order all the same."""
    migrate(settings.postgres)
    promote(settings.postgres, "waiting")
    log, home = tmp_path / "log", tmp_path / "home"
    there = (
        environment
        | master_of(spark_cluster)
        | {
            "FRAUDSTREAM_SPARK__EXECUTOR_MEMORY": "64g",
            "FRAUDSTREAM_HOME": str(home),
            # Spark says so after 15 s by itself.
            "SPARK_SUBMIT_OPTS": f"{os.environ['SPARK_SUBMIT_OPTS']} -Dspark.starvation.timeout=1s",
        }
    )
    said = home / "logs" / "spark-score.log"
    with command(there, log, "score") as process:
        wait_until(
            lambda: said.exists() and "Initial job has not accepted any resources" in said.read_text(),
            "word of Spark",
            log,
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_SECONDS) == 130, log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_python_that_tasks_do_not_find_is_named_with_its_variable(
    spark_cluster: Cluster, settings: Settings, environment: dict[str, str], run: Run
) -> None:
    """Tasks run the Python of whoever starts the command, at the same path, unless they are told another."""
    live = Topics(settings)
    live.send(1)
    live.close()
    nowhere = "/home/nobody/.venv/bin/python"
    there = environment | master_of(spark_cluster) | {"PYSPARK_PYTHON": nowhere}
    failed = run("consume", "transactions", "--once", "--json", env=there)
    assert failed.returncode == 1, failed.stderr
    error = json.loads(failed.stdout)["error"]
    assert error["message"].startswith(f"Spark's tasks cannot run Python at {nowhere}: ")
    assert "PYSPARK_PYTHON" in error["hint"]


def test_a_master_that_does_not_answer_is_named_and_so_is_a_topic_that_the_reader_had_to_make(
    settings: Settings, run: Run, environment: dict[str, str]
) -> None:
    """A wrong port: one sentence with the setting to check, and none of the minute that Spark takes to give up.

    The topic's name may be misspelt: on a company's broker the reader would wait there for ever, and say nothing.
    """
    there = environment | {"FRAUDSTREAM_SPARK__MASTER": "spark://127.0.0.1:9"}
    result = run("--quiet", "consume", "transactions", "--once", "--json", env=there)
    assert result.returncode == 1
    error = json.loads(result.stdout)["error"]
    assert error["message"] == "No Spark master answers at spark://127.0.0.1:9."
    assert "FRAUDSTREAM_SPARK__MASTER" in error["hint"]
    said = f"topic {settings.kafka.transactions_topic} did not exist: created it with 4 partitions. If it should exist"
    assert result.stderr.count(said) == 1
    assert "FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC" in result.stderr
