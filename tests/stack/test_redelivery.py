"""`rejected replay`: messages that an older version refused go back to where they would have lain."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.cimpl import NewTopic

from commands import answered, printed
from fraudstream import kafka
from fraudstream.cli.main import run as cli
from fraudstream.settings import Settings
from fraudstream.store import offsets
from fraudstream.store.connection import connect
from mock_broker import BROKER, NOBODY, mock_broker
from samples import decision, message
from waiting import wait_until

if TYPE_CHECKING:
    from stack.conftest import Run


pytestmark = pytest.mark.usefixtures("postgres")


def refused_once(
    settings: Settings, values: Sequence[bytes], topic: str | None = None, topic_id: str = "older"
) -> None:
    """Messages as `consume` of an older version has kept them."""
    with connect(settings.postgres) as connection:
        connection.cursor().executemany(
            'insert into shop.rejected (topic, topic_id, partition, "offset", value, reason)'
            " values (%s, %s, 0, %s, %s, 'refused by an older version')",
            [
                (topic or settings.kafka.transactions_topic, topic_id, n, value)
                for n, value in enumerate(values)
            ],
        )


def partitions(settings: Settings) -> dict[str, set[int]]:
    """The partitions in which a customer's messages lie, by the topic."""
    topic = kafka.find_topic(settings.kafka, settings.kafka.transactions_topic)
    assert topic is not None
    expected = sum(b.end - b.first for b in kafka.bounds(settings.kafka, topic).values())
    consumer = Consumer({**kafka.client_config(settings.kafka), "group.id": "test"})
    consumer.assign([TopicPartition(topic.name, partition, 0) for partition in topic.partitions])
    found: dict[str, set[int]] = {}
    while expected:
        for record in consumer.consume(1_000, 0.1):
            value, partition = record.value(), record.partition()
            assert value is not None
            assert partition is not None
            found.setdefault(json.loads(value)["user_id"], set()).add(partition)
            expected -= 1
    consumer.close()
    return found


def test_a_message_goes_to_the_partition_that_its_customer_has(
    settings: Settings, run: "Run", call: "Run"
) -> None:
    """A customer's history has one order, so all of it lies in one partition, whoever sent it."""
    assert run("produce", "--rate", "max", "--count", "500", "--users", "40").returncode == 0
    before = partitions(settings)
    refused_once(settings, [message(transaction_id=f"again-{user}", user_id=user) for user in before])
    replayed = call("rejected", "replay", "--json")
    assert json.loads(replayed.stdout)["replayed"] == len(before), replayed.stderr
    assert partitions(settings) == before


def test_messages_of_a_topic_that_is_gone_keep_waiting(settings: Settings, call: "Run") -> None:
    """Made anew, nobody would read it: they would be in no table, and wait no more."""
    gone = f"{settings.kafka.transactions_topic}-gone"
    refused_once(settings, [message()], gone)
    replayed = call("rejected", "replay", "--json")
    assert json.loads(replayed.stdout)["still_rejected"] == 1, replayed.stderr
    assert f"Topic {gone} is gone" in replayed.stderr
    assert kafka.find_topic(settings.kafka, gone) is None


def test_a_refusal_that_can_be_read_now_goes_back_to_the_scored_topic_and_waits_no_more(
    settings: Settings, call: "Run"
) -> None:
    """It has no row, as `consume` only counts it: for a replay it was neither read nor unreadable, and waited for ever."""
    refusal = {
        "rejected": "not JSON",
        "topic": "t",
        "partition": 0,
        "offset": 7,
        "scored_at": "2025-01-01T00:00:00Z",
    }
    refused_once(settings, [json.dumps(refusal).encode(), b"neither"], settings.kafka.scored_topic)
    replayed = call("rejected", "replay", "--json")
    report = json.loads(replayed.stdout)
    assert (report["replayed"], report["still_rejected"]) == (1, 1), replayed.stderr
    assert printed(call("rejected", "replay")) == "0 replayed, 1 still waiting\n"
    topic = kafka.find_topic(settings.kafka, settings.kafka.scored_topic)
    assert topic is not None
    assert sum(b.end - b.first for b in kafka.bounds(settings.kafka, topic).values()) == 1


@pytest.mark.parametrize("since", ["", " lost 2025-03-01 10:30:00+00"])
def test_what_scores_refused_in_a_topic_of_another_name_is_no_transaction(
    settings: Settings, call: "Run", since: str
) -> None:
    """An invalid decision has all that a transaction needs: it was sent, refused and sent again with each replay."""
    scores = f"{settings.kafka.transactions_topic}-of-another-scorer"
    topic = kafka.ensure_topic(settings.kafka, scores, 1)
    offsets.begin(settings.postgres, ("scores",), topic, {0: 2})
    refused_once(settings, [decision(risk=1.5), decision()], scores, topic.topic_id + since)
    replayed = call("rejected", "replay", "--json")
    report = json.loads(replayed.stdout)
    assert (report["replayed"], report["still_rejected"]) == (1, 1), replayed.stderr
    assert printed(call("rejected", "replay")) == "0 replayed, 1 still waiting\n"


def test_a_scored_topic_that_a_replay_creates_has_the_partitions_of_the_transactions(
    settings: Settings, call: "Run"
) -> None:
    """As if `score` or `consume scores` had created it: the partitions of a topic cannot be made fewer."""
    kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 6)
    refused_once(settings, [decision()], settings.kafka.scored_topic)
    replayed = call("rejected", "replay", "--json")
    assert json.loads(replayed.stdout)["replayed"] == 1, replayed.stderr
    topic = kafka.find_topic(settings.kafka, settings.kafka.scored_topic)
    assert topic is not None
    assert len(topic.partitions) == 6


SIZES = (10, 3_000_000, 90_000, 90_000, 90_000, 30_000_000)


def filled(size: int, number: int) -> bytes:
    """A message that can be read and has so many bytes more, which no compression makes fewer."""
    return message(transaction_id=f"t{number}", user_id="u", more=Random(number).randbytes(size // 2).hex())


@pytest.mark.parametrize(("limit", "refused"), [(100_000, [1, 5]), (10_000_000, [5])])
def test_a_message_that_kafka_refuses_waits_and_the_others_go_on(
    settings: Settings, call: "Run", limit: int, refused: list[int]
) -> None:
    """The topic's limit decides, and each message meets it alone: three of 90 kB together are above the lower one."""
    name = settings.kafka.transactions_topic
    topic = NewTopic(name, 1, config={"max.message.bytes": str(limit), "compression.type": "producer"})
    admin = kafka.admin(settings.kafka)
    admin.create_topics([topic])[name].result(30)
    refused_once(settings, [filled(size, number) for number, size in enumerate(SIZES)])
    done = call("rejected", "replay", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads(done.stdout)
    assert (report["replayed"], report["still_rejected"]) == (len(SIZES) - len(refused), len(refused))
    assert [row["offset"] for row in report["refused"]] == refused
    assert all("size too large" in row["reason"] for row in report["refused"])
    again = call("rejected", "replay")
    assert again.stdout == f"0 replayed, {len(refused)} still waiting\n"
    assert f"{name}/0 at offset 5 was not sent; Kafka refuses it" in again.stderr
    assert answered(call("rejected", "list", "--json"))["total"] == len(refused)


def marked(settings: Settings) -> int:
    with connect(settings.postgres) as connection:
        (found,) = connection.execute(
            "select count(*) from shop.rejected where replayed_at is not null"
        ).fetchall()
    return int(found[0])


@pytest.mark.parametrize(("number", "as_json"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_who_stops_it_learns_how_many_were_sent(
    settings: Settings, environment: dict[str, str], tmp_path: Path, number: signal.Signals, as_json: bool
) -> None:
    """To the message: what was sent is marked, and the next run begins behind it."""
    refused_once(settings, [message(transaction_id=f"t{n}") for n in range(20_000)])
    command = [sys.executable, "-m", "fraudstream", "rejected", "replay", *(["--json"] if as_json else [])]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: marked(settings) > 0, "message replayed")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    sent = marked(settings)
    assert 0 < sent < 20_000
    if as_json:
        report = json.loads(out)
        assert (report["replayed"], report["interrupted"]) == (sent, True)
    else:
        assert out == f"{sent:,} replayed before it was stopped; run it again for the rest\n"
    assert messages_in(settings) == sent


def messages_in(settings: Settings) -> int:
    topic = kafka.find_topic(settings.kafka, settings.kafka.transactions_topic)
    assert topic is not None
    return sum(b.end - b.first for b in kafka.bounds(settings.kafka, topic).values())


def test_where_kafka_fails_the_error_says_how_many_were_sent(
    settings: Settings,
    environment: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of the portion that failed among them; they are marked, and the next run sends the others only."""
    refused_once(settings, [message(transaction_id=f"t{n}", user_id=f"u{n}") for n in range(90)])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # A real broker does not fail for half a portion; librdkafka's own does, but gives topics no id.
    monkeypatch.setattr("fraudstream.producer.redelivery.ensure_topic", lambda *_, **__: None)
    with mock_broker() as broker:
        topic = settings.kafka.transactions_topic
        broker.create(topic, 2)
        broker.lead(topic, 1, NOBODY)
        monkeypatch.setenv("FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS", broker.servers)
        monkeypatch.setenv("FRAUDSTREAM_KAFKA__TIMEOUT_SECONDS", "1")
        assert cli(["rejected", "replay", "--json"]) == 1
        document = json.loads(capsys.readouterr().out)
        sent = document["replayed"]
        assert 0 < sent < 90
        assert (sent, document["still_rejected"]) == (marked(settings), 90 - sent)
        assert document["error"]["code"] == "delivery"
        said = f"Kafka did not acknowledge {90 - sent} messages: no answer. {sent} were replayed."
        assert document["error"]["message"] == said
        broker.lead(topic, 1, BROKER)
        assert cli(["rejected", "replay", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["replayed"] == 90 - sent
