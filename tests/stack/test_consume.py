"""Kafka to PostgreSQL through real Spark: what a user sees of `consume`, bad input included."""

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer, TopicPartition

from commands import answered, printed
from documents import lacking
from fault_world import await_progress, consuming
from fraudstream import kafka
from fraudstream.cli.health import document
from fraudstream.errors import MessagesLost
from fraudstream.settings import Settings
from fraudstream.spark.batches import BatchSize
from fraudstream.spark.consumer import Consumer, Summary
from fraudstream.store.connection import connect
from fraudstream.store.findings import findings
from fraudstream.store.health import snapshot
from rows import query
from samples import BAD, decision, message
from sending import send

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.usefixtures("postgres")

BOTH = ("fraud", "transactions")
Run = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def admin(settings: Settings) -> "AdminClient":
    return kafka.admin(settings.kafka)


def consume(
    spark: "SparkSession", settings: Settings, targets: tuple[str, ...] = BOTH, **options: Any
) -> Summary:
    consumer = Consumer(spark, settings)
    return consumer.run(targets, once=True, stop=threading.Event(), **options)


def ids(settings: Settings, table: str = "transactions") -> list[str]:
    return [row[0] for row in query(settings.postgres, f"select transaction_id from shop.{table} order by 1")]


def test_the_program_moves_a_topic_into_its_tables(
    spark: "SparkSession", settings: Settings, environment: dict[str, str], run: Run, tmp_path: Path
) -> None:
    """`consume --once` as a process; a second run finds nothing to do.

    The process is where Spark takes another file system for its own, as on Hadoop, and that one does not answer:
    streams keep their checkpoints on this machine. And where the shell means another Python for other programs:
    tasks run that of the command, where fraudstream is.
    """
    sent = [message(transaction_id=f"t{i}", is_fraud=int(i % 4 == 0), colour="red") for i in range(100)]
    send(settings, [(value, i % 4) for i, value in enumerate(sent)])
    (tmp_path / "spark-defaults.conf").write_text("spark.hadoop.fs.defaultFS hdfs://127.0.0.1:9\n")
    others = {"SPARK_CONF_DIR": str(tmp_path), "PYSPARK_PYTHON": "/home/nobody/.venv/bin/python"}
    first = run("consume", "--once", "--json", env=environment | others)
    assert first.returncode == 0, first.stderr
    topic = settings.kafka.transactions_topic
    assert f"reading {topic}, 4 partitions, into fraud, transactions, profiles\n" in first.stderr
    told = json.loads(first.stdout)
    assert told["targets"] == {
        "fraud": {"stored": 25, "duplicates": 0}, "transactions": {"stored": 75, "duplicates": 0},
        "profiles": {"stored": 100, "duplicates": 0}, "scores": {"stored": 0, "duplicates": 0},
    }  # fmt: skip
    assert lacking("consume", told) == []
    assert (told["rejected"], told["unknown_fields"], told["restarts"]) == (0, 100, 0)
    again = consume(spark, settings)
    assert (again.rows, again.duplicates.total()) == (0, 0)
    assert len(ids(settings)) == 75
    assert len(ids(settings, "fraud_transactions")) == 25


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("POSTGRES__PORT", "1", "PostgreSQL at 127.0.0.1:1/"),
        ("KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1", "No Kafka broker answered"),
        ("SCORE__RULES", "none.yaml", "none.yaml"),
    ],
)
def test_what_is_away_or_wrong_is_said_before_spark_starts(
    environment: dict[str, str], run: Run, name: str, value: str, sentence: str
) -> None:
    """A supervisor starts it again and again while a service is away: each time that would be a whole Spark."""
    changed = environment | {f"FRAUDSTREAM_{name}": value, "FRAUDSTREAM_KAFKA__TIMEOUT_SECONDS": "2"}
    ended = run("consume", "--json", env=changed)
    assert ended.returncode == 1
    assert sentence in json.loads(ended.stdout)["error"]["message"]
    assert "starting Spark" not in ended.stderr


def test_a_topic_that_nobody_expected_is_made_without_alarm(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """By who writes it; and by whoever comes first where no name was set, as on the embedded broker."""
    given, name = settings.kafka, settings.kafka.transactions_topic
    unset = given.model_copy(update={"transactions_topic": f"{name}-2"})
    unset.model_fields_set.remove("transactions_topic")
    with caplog.at_level("INFO"):
        kafka.ensure_topic(given, name)
        kafka.ensure_topic(given, name, reads=True)
        kafka.ensure_topic(given, given.scored_topic, 3, reads=True)
        kafka.ensure_topic(unset, f"{name}-2", reads=True)
    assert caplog.record_tuples == [
        ("fraudstream.kafka", logging.INFO, f"created topic {made} with {count} partitions")
        for made, count in ((name, 4), (f"{name}-2", 4))
    ]


def test_bad_messages_are_kept_and_their_neighbours_stored(spark: "SparkSession", settings: Settings) -> None:
    """Poison first, poison between, poison last; every bad message is kept byte for byte and the offset moves on.

    Odd ones are no bad ones: fields that nobody knows are counted, and of a field that stands twice the last counts.
    """
    bad = [(value, n % 4) for n, (value, _) in enumerate(BAD.values())]
    good = [(message(transaction_id=f"good-{n}"), n % 4) for n in range(len(bad) - 2)]
    twice = message(transaction_id="twice", device="first").replace(b"}", b', "device": "last"}')
    odd = [(message(transaction_id="more", colour="red", shape="round"), 0), (twice, 1)]
    send(settings, [*bad, *good, *odd, *bad])
    summary = consume(spark, settings)
    assert (summary.stored["transactions"], summary.rejected) == (len(bad), 2 * len(bad))
    assert summary.unknown_fields == 2
    assert ids(settings) == sorted(["more", "twice", *(f"good-{n}" for n in range(len(good)))])
    assert query(
        settings.postgres, "select device from shop.transactions where transaction_id = 'twice'"
    ) == [("last",)]
    kept = query(settings.postgres, "select value, partition from shop.rejected")
    assert sorted(map(repr, kept)) == sorted(map(repr, bad * 2))
    end = query(
        settings.postgres, "select sum(next_offset) from shop.stream_offsets where target = 'transactions'"
    )
    assert end == [(3 * len(bad),)]
    send(settings, [(b"poison", 0)] * 30)
    assert consume(spark, settings).rejected == 30, "a batch of nothing else; the first ones are behind it"
    send(settings, [(message(transaction_id="after"), 0)])
    after = consume(spark, settings)
    assert (after.stored["transactions"], after.rejected) == (1, 0)


def health(settings: Settings) -> dict[str, Any]:
    """What `health --json` prints."""
    found = snapshot(settings.postgres)
    return document(found, findings(found))


def test_a_topic_in_another_format_is_said_while_it_runs_and_is_a_finding(
    spark: "SparkSession", settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A company's own messages: every one is rejected, while offsets move on and nothing waits."""
    send(settings, [(b'{"transaction_id": "t%d", "customer": 7}' % n, n % 4) for n in range(1_000)])
    consume(spark, settings, ("transactions",))
    topic = settings.kafka.transactions_topic
    said = "\n".join(record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert f"1,000 of the last 1,000 messages of {topic} could not be read, 1,000 in all" in said
    assert "the latest: user_id: Field required" in said
    (found,) = (finding for finding in health(settings)["findings"] if finding["name"] == "rejected")
    assert not found["ok"]
    assert f"400 of the newest 400 of {topic} (user_id: Field required" in found["sentence"]
    send(settings, [(message(transaction_id=f"t{n}"), n % 4) for n in range(404)])
    consume(spark, settings, ("transactions",))
    printed = health(settings)
    (found,) = (finding for finding in printed["findings"] if finding["name"] == "rejected")
    assert (found["ok"], printed["rejected"], printed["unreadable"]) == (True, 1_000, [])


def test_a_message_of_ten_megabytes_is_rejected_whole(
    spark: "SparkSession", settings: Settings, admin: "AdminClient"
) -> None:
    from confluent_kafka.cimpl import NewTopic

    topic = NewTopic(settings.kafka.transactions_topic, 1, config={"max.message.bytes": "20000000"})
    admin.create_topics([topic])[topic.topic].result(30)
    huge = message(device="x" * 10_000_000)
    send(settings, [(message(transaction_id="a"), 0), (huge, 0), (message(transaction_id="b"), 0)])
    summary = consume(spark, settings)
    assert (summary.stored["transactions"], summary.rejected) == (2, 1)
    assert query(settings.postgres, "select length(value), reason from shop.rejected") == [
        (len(huge), "device: String should have at most 256 characters")
    ]


def test_batches_shrink_where_the_sink_is_slow_and_lose_nothing(
    spark: "SparkSession", settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is stored in more than a hundredth of a second is too slow here: the first batch tells, and the next ones are smaller."""
    send(settings, [(message(transaction_id=f"t{n:04}"), n % 4) for n in range(7_000)])
    hasty = settings.spark.model_copy(update={"rows_per_batch": 4_000, "batch_seconds": 0.01})
    with caplog.at_level("INFO"):
        summary = consume(spark, settings.model_copy(update={"spark": hasty}))
    assert (summary.stored["transactions"], summary.rows, summary.restarts) == (7_000, 7_000, 0)
    assert ids(settings) == [f"t{n:04}" for n in range(7_000)]
    assert [told for told in caplog.messages if "the next ones will have 1,000 at most" in told]


def test_a_stream_begins_with_a_small_batch_and_a_run_that_ends_by_itself_with_a_full_one(
    spark: "SparkSession", settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a slow PostgreSQL nothing is known yet, and whoever waits for the end of a run should not wait for more starts."""
    sizes, follow = list[int](), BatchSize.follow

    def noted(size: BatchSize, messages: int, seconds: float) -> None:
        sizes.append(messages)
        follow(size, messages, seconds)

    monkeypatch.setattr(BatchSize, "follow", noted)
    send(settings, [(message(transaction_id=f"t{n:05}"), n % 4) for n in range(24_000)])
    with consuming(spark, settings) as running:
        await_progress(settings, running, 24_000)
    assert running.result().stored["transactions"] == sum(sizes) == 24_000
    assert sizes[0] == 20_000
    with connect(settings.postgres) as connection:
        connection.execute("update shop.stream_offsets set next_offset = 0")
    sizes.clear()
    assert consume(spark, settings, ("transactions",)).duplicates["transactions"] == 24_000
    assert sizes == [24_000]


def test_the_same_id_twice_is_stored_once_and_counted(spark: "SparkSession", settings: Settings) -> None:
    """In one batch, in two partitions, and in a later run."""
    send(settings, [(message(transaction_id="twin", amount=n + 1), n % 2) for n in range(4)])
    first = consume(spark, settings)
    assert (first.stored["transactions"], first.duplicates["transactions"]) == (1, 3)
    send(settings, [(message(transaction_id="twin"), 3), (message(transaction_id="single"), 3)])
    second = consume(spark, settings)
    assert (second.stored["transactions"], second.duplicates["transactions"]) == (1, 1)
    assert ids(settings) == ["single", "twin"]


def test_targets_own_their_offsets_whoever_consumes_them(spark: "SparkSession", settings: Settings) -> None:
    """`consume fraud`, then more messages, then `consume all`: each target gets each message once."""
    send(settings, [(message(transaction_id=f"a{n}", is_fraud=n % 2), 0) for n in range(10)] + [(b"bad", 0)])
    alone = consume(spark, settings, ("fraud",))
    assert (alone.stored, alone.rejected) == ({"fraud": 5}, 1)
    send(settings, [(message(transaction_id=f"b{n}", is_fraud=n % 2), 0) for n in range(10)])
    both = consume(spark, settings)
    assert both.stored == {"fraud": 5, "transactions": 10}
    assert both.rejected == 0, "the bad message is kept already"
    assert len(ids(settings)) == len(ids(settings, "fraud_transactions")) == 10


def test_transactions_that_were_aborted_never_happened(
    spark: "SparkSession", settings: Settings, admin: "AdminClient"
) -> None:
    """A transactional producer's markers leave gaps in the offsets, which are no holes."""
    topic = settings.kafka.transactions_topic
    kafka.ensure_topic(settings.kafka, topic)
    producer = Producer(kafka.client_config(settings.kafka) | {"transactional.id": topic})
    producer.init_transactions(30)
    for n in range(6):
        producer.begin_transaction()
        producer.produce(topic, message(transaction_id=f"t{n}"), partition=0)
        producer.flush(30)  # what is aborted unsent leaves nothing behind
        (producer.abort_transaction if n % 2 else producer.commit_transaction)(30)
        if n == 2:
            consume(spark, settings)
    consume(spark, settings)
    assert ids(settings) == ["t0", "t2", "t4"]
    # Markers and what was taken back are behind us, too: nothing waits, and after retention nothing is lost.
    assert query(
        settings.postgres, "select distinct next_offset from shop.stream_offsets where partition = 0"
    ) == [(12,)]
    waiting = "select next_offset, end_offset from shop.stream_progress where partition = 0"
    assert query(settings.postgres, waiting) == [(12, 12)]
    for future in admin.delete_records([TopicPartition(topic, 0, 12)]).values():
        future.result(30)
    producer.begin_transaction()
    producer.produce(topic, message(transaction_id="later"), partition=0)
    producer.commit_transaction(30)
    assert consume(spark, settings).stored["transactions"] == 1


def test_a_topic_made_anew_and_a_partition_added_are_read_from_their_own_start(
    spark: "SparkSession", settings: Settings, admin: "AdminClient"
) -> None:
    """Between two runs; `test_faults` does so to a running stream."""
    from confluent_kafka.cimpl import NewPartitions

    topic = settings.kafka.transactions_topic
    send(settings, [(message(transaction_id=f"old-{n}"), 0) for n in range(5)])
    consume(spark, settings)
    admin.delete_topics([topic], operation_timeout=30)[topic].result(30)
    while kafka.find_topic(settings.kafka, topic, admin) is not None:
        pass  # the broker's metadata follows within milliseconds
    send(settings, [(message(transaction_id=f"new-{n}"), 0) for n in range(9)])
    assert consume(spark, settings).stored["transactions"] == 9
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(30)
    send(settings, [(message(transaction_id="after"), 4)])
    assert consume(spark, settings).stored["transactions"] == 1
    assert ids(settings) == ["after", *(f"new-{n}" for n in range(9)), *(f"old-{n}" for n in range(5))]


def test_messages_that_retention_took_stop_the_consumer_until_the_loss_is_accepted(
    spark: "SparkSession", settings: Settings, admin: "AdminClient"
) -> None:
    topic = settings.kafka.transactions_topic
    send(settings, [(message(transaction_id=f"t{n}"), 0) for n in range(3)])
    consume(spark, settings)
    send(settings, [(message(transaction_id=f"t{n}"), 0) for n in range(3, 9)])
    for future in admin.delete_records([TopicPartition(topic, 0, 6)]).values():
        future.result(30)
    with pytest.raises(MessagesLost, match=rf"is at offset 3 of {topic}/0, but Kafka has 6 to 9") as caught:
        consume(spark, settings)
    assert "--accept-loss" in caught.value.hint
    assert ids(settings) == ["t0", "t1", "t2"]
    assert consume(spark, settings, accept_loss=True).stored["transactions"] == 3
    assert ids(settings) == ["t0", "t1", "t2", "t6", "t7", "t8"]


def test_a_rejected_message_goes_through_again_after_a_mend(
    spark: "SparkSession", settings: Settings, run: Run, call: Run
) -> None:
    """One of each topic that an older version refused and this one reads; one that still cannot be read stays.

    A transaction among the decisions is none of them: it must not go round for ever.
    """
    send(settings, [(b"still poison", 0)])
    consume(spark, settings)
    older = [
        (settings.kafka.transactions_topic, 0, message(transaction_id="mended")),
        (settings.kafka.scored_topic, 1, decision(transaction_id="mended")),
        (settings.kafka.scored_topic, 2, message(transaction_id="astray")),
    ]
    with connect(settings.postgres) as connection:
        connection.cursor().executemany(
            'insert into shop.rejected (topic, topic_id, partition, "offset", value, reason)'
            " values (%s, 'older', 0, %s, %s, 'refused by an older version')",
            older,
        )
    kafka.ensure_topic(settings.kafka, settings.kafka.scored_topic)
    listed = answered(call("rejected", "list", "--json"))
    assert listed["total"] == 4
    # Whoever was woken by new ones must see those first, however many old ones no replay can read.
    assert "4 rejected, the newest 1 shown" in printed(call("rejected", "list", "--limit", "1"))
    (newest,) = answered(call("rejected", "list", "--limit", "1", "--json"))["rejected"]
    assert newest["reason"] == "refused by an older version"
    assert "still" in printed(call("rejected", "list"))
    replayed = run("rejected", "replay", "--json")
    assert json.loads(replayed.stdout) == {
        "replayed": 2,
        "still_rejected": 2,
        "refused": [],
        "interrupted": False,
    }, replayed.stderr
    consume(spark, settings)
    consume(spark, settings, ("scores",))
    assert (ids(settings), ids(settings, "scores")) == (["mended"], ["mended"])
    assert answered(call("rejected", "replay", "--json")) == {
        "replayed": 0,
        "still_rejected": 2,
        "refused": [],
        "interrupted": False,
    }
