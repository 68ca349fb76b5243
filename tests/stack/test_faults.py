"""Consumers that are killed, that meet each other, or under which topic and tables change: what was sent is stored once."""

import contextlib
import json
import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psutil
import pytest

from fault_world import (
    Scorer,
    Sender,
    assert_exact,
    await_progress,
    consuming,
    gone,
    in_batches,
    progress,
    query,
    tree,
)
from fraudstream import kafka
from fraudstream.errors import MessagesLost
from fraudstream.settings import Settings
from fraudstream.spark import consumer
from fraudstream.spark.consume import consume
from fraudstream.spark.source import new_checkpoint
from fraudstream.spark.stopping import UntilStopped
from fraudstream.store import offsets
from fraudstream.store.connection import connect
from fraudstream.store.targets import TARGETS
from live_scorer import command
from profile_world import ALL
from waiting import HANG_SECONDS, wait_until

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SMALL_BATCHES = {"FRAUDSTREAM_SPARK__ROWS_PER_BATCH": "1000"}
"""Many commits a second, so that a kill meets one."""
KILLS = ("driver", "jvm") + ("daemon",) * 2 + ("worker",) * 16


def daemons(process: psutil.Process) -> list[psutil.Process]:
    """Spark's makers of Python workers, and the workers."""
    found = []
    for member in tree(process):
        with contextlib.suppress(psutil.Error):  # it ended while we looked
            if "fraudstream.spark.daemon" in member.cmdline():
                found.append(member)
    return found


def first_daemon(process: psutil.Process, log: Path) -> psutil.Process:
    """The first that begins, as soon as it does."""
    found: list[psutil.Process] = []

    def begun() -> bool:
        found.extend(daemons(process))
        return bool(found)

    wait_until(begun, "beginning of the first worker", log)
    return found[0]


def kind(member: psutil.Process, driver: psutil.Process) -> str:
    """Which part of a consumer it is. Raises psutil.NoSuchProcess where it is none any more."""
    if member == driver:
        return "driver"
    if member.name() == "java":
        return "jvm"
    if "fraudstream.spark.daemon" not in member.cmdline():
        return "other"  # what Hadoop starts for a moment
    parent = member.parent()
    return "daemon" if parent is not None and parent.name() == "java" else "worker"


def strike(
    process: psutil.Process, victim: str, chance: random.Random, family: dict[psutil.Process, str]
) -> None:
    """Kill -9 one of this kind as soon as there is one.

    `family` remembers who was seen: workers whose maker was killed work on, though they are nobody's children now.
    """

    def struck() -> bool:
        for member in tree(process):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended while we looked
                if (found := kind(member, process)) != "other":
                    family[member] = found
        with contextlib.suppress(psutil.NoSuchProcess):
            victims = [member for member, one in family.items() if one == victim and not gone(member)]
            if victims:
                chance.choice(victims).kill()
            return bool(victims)
        return False

    wait_until(struck, victim)


@pytest.mark.timeout(1800)  # three starts of Spark: a minute on an idle machine, more on a busy one
def test_twenty_kills_lose_and_double_nothing(
    spark: "SparkSession", settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """Kill -9 of the driver, of the JVM, of a Python worker or of what makes those, at a random moment, twenty times.

    It stores transactions and decisions. A consumer whose worker dies goes on by itself, even where it dies as it begins;
    one whose driver or JVM dies is started again. Of decisions that differ the first is kept.
    """
    chance, sender, scorer = random.Random(42), Sender(settings), Scorer(settings)
    victims, before, log, told = chance.sample(KILLS, len(KILLS)), 0, tmp_path / "log", ""
    sender.send(2000)
    while victims:
        family: dict[psutil.Process, str] = {}
        with command(environment | SMALL_BATCHES, log, "consume") as process:
            if len(victims) == len(KILLS):
                first_daemon(process, log).kill()
            fatal = False
            while victims and not fatal:
                wait_until(lambda b=before: progress(settings) > b, "progress", log)  # type: ignore[misc]
                time.sleep(chance.uniform(0, 0.4))
                victim = victims.pop()
                strike(process, victim, chance, family)
                fatal = victim in {"driver", "jvm"}
                if fatal:
                    # Neither outlives the other: a JVM without its driver would go on reading in secret.
                    wait_until(lambda f=family: all(map(gone, f)), "end of the others")  # type: ignore[misc]
                before = progress(settings)
                sender.send(2000)
                scorer.send(1000)
        told += log.with_suffix(".json").read_text()
    consume(spark, settings, tuple(TARGETS), once=True, stop=threading.Event())
    assert_exact(settings, sender, labels=True)
    assert_exact(settings, scorer, ("scores",))
    told += log.read_text()
    assert "This is a bug" not in told
    assert "A Python worker of Spark was killed" in told
    assert "Spark's Java process is gone" in told
    assert "Traceback" not in told


def waiting(settings: Settings) -> int:
    """Sessions that wait for a lock."""
    found = query(
        settings,
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    )
    return int(found[0][0])


@pytest.mark.usefixtures("postgres")
def test_two_consumers_at_once_store_each_message_once(
    spark: "SparkSession", settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    """One topic of transactions and one of decisions, a partition each, and slices that end at different messages.

    Whoever waited for the first slice of the other finds the beginning of its own stored, and stores the rest.
    """
    senders, log = (Sender(settings), Scorer(settings)), tmp_path / "log"
    for sender, targets in zip(senders, (ALL, ("scores",)), strict=True):
        topic = kafka.ensure_topic(settings.kafka, sender.topic, 1)
        offsets.begin(settings.postgres, targets, topic, {0: 0})
        sender.send(4000)
    with (
        ThreadPoolExecutor(1) as pool,
        connect(settings.postgres) as lock,
        command(
            environment | {"FRAUDSTREAM_SPARK__ROWS_PER_BATCH": "500"}, log, "consume", "--once"
        ) as process,
    ):
        lock.execute("select from shop.stream_offsets for update")
        wait_until(lambda: waiting(settings) == 2, "first consumer at both topics", log)
        beside = pool.submit(
            consume, spark, in_batches(settings, 700), tuple(TARGETS), once=True, stop=threading.Event()
        )
        wait_until(lambda: beside.done() or waiting(settings) == 4, "second consumer at both topics", log)
        lock.commit()
        assert process.wait(HANG_SECONDS) == 0, log.read_text()
        ours = beside.result().stored
    theirs = {
        name: counts["stored"]
        for name, counts in json.loads(log.with_suffix(".json").read_text())["targets"].items()
    }
    assert min(theirs.values()) > 0
    assert min(ours[name] for name in TARGETS) > 0
    assert theirs["transactions"] + theirs["fraud"] + ours["transactions"] + ours["fraud"] == 4000
    assert theirs["profiles"] + ours["profiles"] == theirs["scores"] + ours["scores"] == 4000
    assert_exact(settings, senders[0], labels=True)
    assert_exact(settings, senders[1], ("scores",))


def told(settings: Settings) -> dict[int, tuple[int, int]]:
    """Next and end offset of each partition, as dashboards and `health` read them."""
    found = query(settings, "select partition, next_offset, end_offset from shop.stream_progress")
    return {partition: (offset, end) for partition, offset, end in found}


def behind(settings: Settings) -> tuple[int, int]:
    """Messages of the topic and how many of them wait, by what is told of the partitions."""
    places = told(settings).values()
    return sum(end for _, end in places), sum(end - offset for offset, end in places)


@pytest.mark.usefixtures("postgres")
def test_a_running_consumer_follows_its_topic(spark: "SparkSession", settings: Settings) -> None:
    """Partitions added while it reads, then the topic deleted and made anew, longer than it was.

    Of partitions that were added it knew no end, so that nothing ever seemed to wait in them.
    """
    from confluent_kafka.cimpl import NewPartitions

    admin, name, sender = kafka.admin(settings.kafka), settings.kafka.transactions_topic, Sender(settings)
    with consuming(spark, in_batches(settings, 1000)) as running:
        sender.send(1000)
        await_progress(settings, running, 1000)
        admin.create_partitions([NewPartitions(name, 6)])[name].result(30)
        added = {4: (0, 0), 5: (0, 0)}
        wait_until(lambda: running.done() or added.items() <= told(settings).items(), "partitions added")
        sender.send(1000)
        await_progress(settings, running, 2000)
        wait_until(lambda: running.done() or behind(settings) == (2000, 0), "end of each partition")
        admin.delete_topics([name], operation_timeout=30)[name].result(30)
        wait_until(lambda: kafka.find_topic(settings.kafka, name, admin) is None, "deletion")
        sender.send(3000)
        await_progress(settings, running, 5000)
    assert running.result().interrupted
    assert_exact(settings, sender)


TAKEN_BACK = ("transactions", "fraud_transactions", "profiles", "hourly", "stream_offsets")


@pytest.mark.usefixtures("postgres")
def test_a_running_consumer_stores_again_what_a_restored_database_has_lost(
    spark: "SparkSession", settings: Settings
) -> None:
    """A backup is put back under it: the next message shows that the tables went back, and it begins where they stand."""
    sender = Sender(settings)
    with consuming(spark, settings) as running:
        sender.send(500)
        await_progress(settings, running, 500)
        with connect(settings.postgres) as backup:
            for table in TAKEN_BACK:
                backup.execute(f"create table shop.kept_{table} as table shop.{table}".encode())
        sender.send(500)
        await_progress(settings, running, 1000)
        with connect(settings.postgres) as restore:
            for table in TAKEN_BACK:
                restore.execute(f"delete from shop.{table}".encode())
                restore.execute(f"insert into shop.{table} table shop.kept_{table}".encode())
        sender.send(1)
        await_progress(settings, running, 1001)
        sender.send(500)
        await_progress(settings, running, 1501)
    assert running.result().restarts >= 1
    assert_exact(settings, sender)


@pytest.mark.usefixtures("postgres")
def test_a_loss_that_was_accepted_at_the_start_allows_no_later_one(
    spark: "SparkSession", settings: Settings
) -> None:
    """Who gave `--accept-loss` saw what was lost by then; what was lost while the stream ran was skipped without a word."""
    from confluent_kafka import TopicPartition

    sender, admin = Sender(settings), kafka.admin(settings.kafka)
    sender.send(500)
    topic = kafka.find_topic(settings.kafka, sender.topic, admin)
    assert topic is not None
    with consuming(spark, settings, accept_loss=True) as running:
        await_progress(settings, running, 500)
        deleted = [TopicPartition(topic.name, partition, 20) for partition in topic.partitions]
        for future in admin.delete_records(deleted).values():
            future.result(30)
        with connect(settings.postgres) as restored:  # from a backup that is older than Kafka's retention
            restored.execute("update shop.stream_offsets set next_offset = 10")
        sender.send(1)
        wait_until(lambda: running.done() or progress(settings) == 501, "end")
        with pytest.raises(MessagesLost, match="deleted before they were read"):
            running.result(0)


def test_a_running_consumer_does_not_need_its_checkpoint(
    spark: "SparkSession", settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where somebody clears the temporary files of a machine: it begins again at the offsets in PostgreSQL."""
    sender, made = Sender(settings), list[Path]()

    def remembered(session: "SparkSession") -> "TemporaryDirectory[str]":
        checkpoint = new_checkpoint(session)
        made.append(Path(checkpoint.name))
        return checkpoint

    monkeypatch.setattr(consumer, "new_checkpoint", remembered)
    with consuming(spark, in_batches(settings, 1000)) as running:
        sender.send(1000)
        await_progress(settings, running, 1000)
        assert (made[0] / "offsets").is_dir()
        shutil.rmtree(made[0], ignore_errors=True)
        sender.send(1000)
        await_progress(settings, running, 2000)

        def passed() -> bool:
            if len(made) == 1:  # again and again, so that Spark is writing it once
                shutil.rmtree(made[0], ignore_errors=True)
            return running.done() or progress(settings) >= 9000

        with sender.running():
            wait_until(passed, "message 9,000")
        await_progress(settings, running, sender.done)
    assert running.result().interrupted
    assert_exact(settings, sender)


@pytest.mark.usefixtures("postgres")
@pytest.mark.parametrize("batch_seconds", [30.0, 0.01], ids=["a good batch", "one that took too long"])
def test_a_consumer_that_is_stopped_counts_the_batch_that_it_was_storing(
    spark: "SparkSession", settings: Settings, monkeypatch: pytest.MonkeyPatch, batch_seconds: float
) -> None:
    """The batch was cancelled: what its other tasks had stored by then was missing in the figures.

    After one that took too long, `health` went on saying that its messages wait.
    """
    slow = settings.spark.model_copy(update={"batch_seconds": batch_seconds})
    settings = settings.model_copy(update={"spark": slow})
    sender, stop = Sender(settings), threading.Event()
    sender.send(1000)
    topic = kafka.find_topic(settings.kafka, sender.topic)
    assert topic is not None
    finishing, finish = threading.Event(), UntilStopped.finish

    def finishes(batches: UntilStopped) -> None:
        if stop.is_set():
            finishing.set()
        finish(batches)

    monkeypatch.setattr(UntilStopped, "finish", finishes)
    offsets.begin(settings.postgres, ALL, topic, dict.fromkeys(topic.partitions, 0))
    with ThreadPoolExecutor(1) as pool, connect(settings.postgres) as other:
        other.execute("select from shop.stream_offsets where partition = 0 for update")
        running = pool.submit(consume, spark, settings, ALL, once=False, stop=stop)
        wait_until(lambda: running.done() or progress(settings) > 0, "slice beside the one that waits")
        stop.set()
        assert finishing.wait(HANG_SECONDS), "the stop was not noticed"
        other.rollback()
        summary = running.result()
    assert summary.interrupted
    assert summary.stored["transactions"] == len(sender.sent["transactions"])
    assert_exact(settings, sender)
    assert behind(settings) == (1000, 0)
