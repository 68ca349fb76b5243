"""`produce` with a real broker: what it says was sent is what the topic holds."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Consumer, TopicPartition

from documents import lacking
from fraudstream.decode import Decoder
from fraudstream.kafka import bounds, client_config, ensure_topic, find_topic
from fraudstream.local import services
from fraudstream.local.home import Home
from fraudstream.local.kafka import EmbeddedKafka
from fraudstream.settings import KafkaSettings, Settings
from free_ports import give_ports
from samples import GOOD
from waiting import wait_until

if TYPE_CHECKING:
    from stack.conftest import Run


def held(kafka: KafkaSettings) -> int:
    """Messages of the topic, by its offsets."""
    topic = find_topic(kafka, kafka.transactions_topic)
    return 0 if topic is None else sum(b.end - b.first for b in bounds(kafka, topic).values())


def messages(kafka: KafkaSettings) -> list[tuple[int, int, bytes, bytes]]:
    """Everything in the topic: partition, time of the message in milliseconds, key, value."""
    topic = find_topic(kafka, kafka.transactions_topic)
    assert topic is not None
    expected = held(kafka)
    config: dict[str, Any] = {**client_config(kafka), "group.id": "test", "auto.offset.reset": "earliest"}
    consumer = Consumer(config)
    consumer.assign([TopicPartition(topic.name, partition, 0) for partition in topic.partitions])
    found: list[tuple[int, int, bytes, bytes]] = []
    deadline = time.monotonic() + 60
    while len(found) < expected and time.monotonic() < deadline:
        for message in consumer.consume(10_000, 0.1):
            assert message.error() is None
            key, value = message.key(), message.value()
            assert isinstance(key, bytes)
            assert isinstance(value, bytes)
            found.append((message.partition() or 0, message.timestamp()[1], key, value))
    consumer.close()
    assert len(found) == expected
    return found


def program(environment: dict[str, str], cwd: Path, *arguments: str) -> "subprocess.Popen[str]":
    """`produce` as a process of its own, to be interrupted."""
    return subprocess.Popen(
        [sys.executable, "-m", "fraudstream", "produce", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=cwd,
    )  # fmt: skip


def wait_until_held(kafka: KafkaSettings, count: int) -> None:
    wait_until(lambda: held(kafka) >= count, f"{count} messages")


def test_what_was_sent_is_what_the_topic_holds(settings: Settings, run: "Run") -> None:
    """At full speed: every message there once, decodable, in its user's order, keys on one partition each."""
    done = run("produce", "--rate", "max", "--count", "30000", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert lacking("produce", report) == []
    assert (report["sent"], report["failed"]) == (30_000, 0)
    assert report["seconds"] > 0
    found = messages(settings.kafka)
    documents = [json.loads(value) for _, _, _, value in found]
    assert len({d["transaction_id"] for d in documents}) == 30_000
    assert Decoder().decode([value for _, _, _, value in found]).rejects == []
    assert all(d["user_id"].encode() == key for d, (_, _, key, _) in zip(documents, found, strict=True))
    homes: dict[bytes, set[int]] = {}
    for partition, _, key, _ in found:
        homes.setdefault(key, set()).add(partition)
    assert max(len(partitions) for partitions in homes.values()) == 1
    assert len(set().union(*homes.values())) == settings.kafka.partitions
    last: Counter[str] = Counter()
    for document in documents:
        number = int(document["transaction_id"].rpartition("-")[2])
        assert last[document["user_id"]] <= number
        last[document["user_id"]] = number


def test_keys_lie_where_the_java_client_would_put_them(settings: Settings, run: "Run") -> None:
    """murmur2, as Kafka's own clients: other producers of a company agree on a user's partition."""
    assert run("produce", "--rate", "max", "--count", "2000").returncode == 0
    for partition, _, key, _ in messages(settings.kafka):
        assert partition == (murmur2(key) & 0x7FFFFFFF) % settings.kafka.partitions


def murmur2(data: bytes) -> int:
    """org.apache.kafka.common.utils.Utils.murmur2, in Python."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    for begin in range(0, len(data) - 3, 4):
        k = int.from_bytes(data[begin : begin + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if tail := data[len(data) & ~3 :]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def test_a_rate_is_not_exceeded(settings: Settings, run: "Run") -> None:
    """Never faster than 200 a second from start to end, and no event time ahead of the broker's clock.

    A busy machine delays both sides, so how closely it holds, and that no tenth of a second sees a crowd, is
    `fraudstream bench produce`.
    """
    report = json.loads(run("produce", "--rate", "200", "--count", "400", "--json").stdout)
    assert report["sent"] == 400
    assert report["seconds"] >= 1.9
    for _, at, _, value in messages(settings.kafka):
        assert datetime.fromisoformat(json.loads(value)["timestamp"]).timestamp() <= at / 1000 + 1.5


def test_history_comes_first_and_the_present_after_it(settings: Settings, run: "Run") -> None:
    """Two days of the past at once, then live; on no day of the week do two days hold 2,000 payments of 300 people."""
    began = datetime.now(UTC)
    done = run("produce", "--days", "2", "--users", "300", "--rate", "300", "--count", "2000", "--json")
    report = json.loads(done.stdout)
    assert report["sent"] == 2_000
    documents = [json.loads(value) for _, _, _, value in messages(settings.kafka)]
    stamps = sorted(datetime.fromisoformat(document["timestamp"]) for document in documents)
    assert stamps[0] < began <= stamps[-1]
    assert len({document["transaction_id"] for document in documents}) == 2_000


def test_the_topic_is_made_with_the_partitions_that_were_asked_for(settings: Settings, run: "Run") -> None:
    name = f"{settings.kafka.transactions_topic}-seven"
    done = run("produce", "--count", "10", "--rate", "max", "--topic", name, "--partitions", "7")
    assert done.returncode == 0
    assert "10 sent, 0 failed" in done.stdout
    topic = find_topic(settings.kafka, name)
    assert topic is not None
    assert len(topic.partitions) == 7


@pytest.mark.parametrize(
    ("number", "bound", "code"),
    [
        (signal.SIGINT, (), 0),
        (signal.SIGTERM, (), 0),
        (signal.SIGINT, ("--count", "100000000"), 130),
    ],
    ids=["endless", "endless-term", "bounded"],
)
def test_a_signal_ends_it_with_a_true_count(  # noqa: PLR0913, PLR0917 - two fixtures, a folder and a case of three
    settings: Settings,
    environment: dict[str, str],
    tmp_path: Path,
    number: signal.Signals,
    bound: tuple[str, ...],
    code: int,
) -> None:
    """Ctrl-C at full speed: everything that was taken is delivered, and counted as the topic counts it."""
    ensure_topic(settings.kafka, settings.kafka.transactions_topic)
    process = program(environment, tmp_path, "--rate", "max", "--json", *bound)
    wait_until_held(settings.kafka, 50_000)
    process.send_signal(number)
    out, narration = process.communicate(timeout=60)
    assert process.returncode == code, narration
    report = json.loads(out)
    assert report["failed"] == 0
    assert report["sent"] == held(settings.kafka)


def test_a_file_is_replayed_row_by_row(settings: Settings, run: "Run", tmp_path: Path) -> None:
    rows = [
        "id,user_id,timestamp,amount,device,location,transaction_location",
        "1,u,2024-01-01,5,phone,Köln,Köln",
        "2,u,2024-01-02,none,phone,Köln,Köln",
        '3,u,2024-01-03,7,"say ""hi""",Köln,Köln',
    ]
    (tmp_path / "a.csv").write_text("\n".join(rows), encoding="utf-8")
    done = run("produce", "--from", "a.csv", "--map", "id=transaction_id", "--json")
    report = json.loads(done.stdout)
    assert (report["sent"], report["failed"], report["rejected"]) == (2, 0, 1)
    assert report["rejected_rows"] == [{"row": 2, "reason": "amount: not a number"}]
    documents = [json.loads(value) for _, _, _, value in messages(settings.kafka)]
    assert [d["device"] for d in documents] == ["phone", 'say "hi"']


def test_a_file_that_breaks_half_way_says_what_was_sent(
    settings: Settings, run: "Run", tmp_path: Path
) -> None:
    """A damaged third part of three: two are in the topic, one row of them was none, and the error says both."""
    rows = [GOOD | {"transaction_id": f"t{n}", "amount": float(n != 7)} for n in range(12_288)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "half.parquet", row_group_size=4_096)
    third = pq.ParquetFile(tmp_path / "half.parquet").metadata.row_group(2).column(0)
    with (tmp_path / "half.parquet").open("r+b") as file:
        file.seek(third.dictionary_page_offset)
        file.write(b"\xff" * 5_000)
    done = run("produce", "--from", "half.parquet", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert (report["sent"], report["failed"], report["rejected"]) == (8_191, 0, 1)
    assert held(settings.kafka) == 8_191
    assert "half.parquet cannot be read" in report["error"]["message"]
    assert "8,191 messages were sent before that" in report["error"]["message"]
    assert "send all of it" in report["error"]["hint"]
    assert "row 8 skipped" in done.stderr


@dataclass(frozen=True)
class Broker:
    """A broker of this module's own, to be killed."""

    settings: Settings

    def start(self) -> None:
        """Start it where it does not run."""
        EmbeddedKafka(Home.of(self.settings)).start(self.settings, Event())

    def kill(self) -> None:
        """Kill -9."""
        found = EmbeddedKafka(Home.of(self.settings)).process()
        assert found is not None
        found.send(signal.SIGKILL)
        assert found.wait(30)

    def kafka(self, topic: str) -> KafkaSettings:
        """A topic of it, which is made here."""
        servers = EmbeddedKafka(Home.of(self.settings)).servers
        kafka = KafkaSettings(bootstrap_servers=servers, transactions_topic=topic, timeout_seconds=30.0)
        ensure_topic(kafka, topic)
        return kafka

    def environment(self, topic: str) -> dict[str, str]:
        """The environment in which the real program sends to this topic."""
        return {
            "PATH": "/usr/bin:/bin",
            "FRAUDSTREAM_HOME": str(self.settings.home),
            "FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS": str(EmbeddedKafka(Home.of(self.settings)).servers),
            "FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC": topic,
            "FRAUDSTREAM_KAFKA__TIMEOUT_SECONDS": "3",
        }


@pytest.fixture(scope="module")
def broker(embedded: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    home = tmp_path_factory.mktemp("broker")
    own = Broker(Settings(_env_file=None, home=home, jars=embedded.jars, kafka=KafkaSettings()))
    give_ports(Home.of(own.settings))
    try:
        own.start()
        yield own
    finally:
        services.reset(own.settings)


def test_a_broker_that_is_away_for_a_while_costs_nothing(broker: Broker, tmp_path: Path) -> None:
    """Kill -9 of the broker in the middle, and a restart: all sent once, none failed."""
    kafka = broker.kafka("away")
    process = program(broker.environment("away"), tmp_path, "--rate", "10000", "--count", "50000", "--json")
    wait_until_held(kafka, 10_000)
    broker.kill()
    broker.start()
    out, narration = process.communicate(timeout=200)
    assert process.returncode == 0, out + narration
    report = json.loads(out)
    assert (report["sent"], report["failed"]) == (50_000, 0)
    assert held(kafka) == 50_000
    ids = {json.loads(value)["transaction_id"] for _, _, _, value in messages(kafka)}
    assert len(ids) == 50_000


def test_a_broker_that_dies_for_good_is_counted_right(broker: Broker, tmp_path: Path) -> None:
    """After Ctrl-C what was not acknowledged is failed; what was acknowledged is in the topic."""
    kafka = broker.kafka("dead")
    process = program(broker.environment("dead"), tmp_path, "--rate", "5000", "--json")
    wait_until_held(kafka, 10_000)
    broker.kill()
    assert process.stderr is not None
    narration = next(line for line in process.stderr if "no Kafka broker answers" in line)
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=60)
    narration += rest
    assert process.returncode == 1, narration
    report = json.loads(out)
    assert report["error"]["code"] == "delivery"
    assert report["failed"] > 0
    broker.start()
    # A message that was under way when the broker died may be there although nobody was told.
    assert report["sent"] <= held(kafka) <= report["sent"] + report["failed"]
    numbers = {int(json.loads(v)["transaction_id"].rpartition("-")[2]) for _, _, _, v in messages(kafka)}
    assert len(numbers) == held(kafka)
    assert max(numbers) < report["sent"] + report["failed"]
