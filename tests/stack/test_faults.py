"""Real processes, really killed: afterwards the tables hold what was sent, id by id."""

import contextlib
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from confluent_kafka import Producer

from fraudstream import kafka
from fraudstream.local.home import Home
from fraudstream.local.kafka import EmbeddedKafka
from fraudstream.local.postgres import EmbeddedPostgres
from fraudstream.settings import Settings
from fraudstream.store.connection import connect, connected
from hours import counted_hours, hourly
from live_scorer import kill
from samples import decision, message
from waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

Sent = dict[str, set[str]]
"""Table to the ids that were sent for it."""


@dataclass
class Sender:
    """Sends good and fraudulent messages in the background, and remembers every id."""

    settings: Settings
    rate: int = 2000
    sent: Sent = field(default_factory=lambda: {"transactions": set(), "fraud_transactions": set()})

    def send(self, count: int) -> None:
        """Send `count` messages now."""
        producer = self._producer()
        self._produce(producer, count)
        assert producer.flush(60) == 0

    @property
    def topic(self) -> str:
        """Where it sends to."""
        return self.settings.kafka.transactions_topic

    def _producer(self) -> Producer:
        kafka.ensure_topic(self.settings.kafka, self.topic)
        properties = {
            "enable.idempotence": True, "queue.buffering.max.messages": 1_000_000, "log_level": 0,
            "reconnect.backoff.max.ms": 500,  # else up to ten seconds pass after a broker's return
        }  # fmt: skip
        return Producer(kafka.client_config(self.settings.kafka) | properties)

    def _produce(self, producer: Producer, count: int) -> None:
        done = self.done
        for n in range(done, done + count):
            for value in self._messages(n, f"t-{n:07d}"):
                producer.produce(self.topic, value, key=f"u{n % 97}".encode())
        producer.poll(0)

    @property
    def done(self) -> int:
        """How many transactions were sent."""
        return sum(map(len, self.sent.values()))

    def _messages(self, n: int, name: str) -> list[bytes]:
        is_fraud = int(n % 50 == 0)
        self.sent["fraud_transactions" if is_fraud else "transactions"].add(name)
        return [message(transaction_id=name, is_fraud=is_fraud)]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send on while the block runs."""
        producer, stop = self._producer(), threading.Event()

        def work() -> None:
            while not stop.wait(0.05):
                self._produce(producer, self.rate // 20)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            assert producer.flush(120) == 0


class Scorer(Sender):
    """Sends decisions, some of them twice: after a crash the scorer answers again, perhaps otherwise."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, sent={"scores": set(), "alerts": set()})

    @property
    def topic(self) -> str:
        """Where it sends to."""
        return self.settings.kafka.scored_topic

    @property
    def done(self) -> int:
        """How many transactions were judged."""
        return len(self.sent["scores"])

    def _messages(self, n: int, name: str) -> list[bytes]:
        flagged = n % 50 == 0
        self.sent["scores"].add(name)
        if flagged:
            self.sent["alerts"].add(name)
        again = [decision(transaction_id=name, flagged=not flagged)] if n % 10 < 2 else []
        return [decision(transaction_id=name, flagged=flagged), *again]


def query(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with connected(settings.postgres) as connection:
        return connection.execute(sql).fetchall()


def progress(settings: Settings, target: str = "transactions") -> int:
    """How many messages the target has passed; 0 while PostgreSQL is away or empty."""
    from fraudstream.errors import DatabaseError

    try:
        found = query(settings, f"select sum(next_offset) from shop.stream_offsets where target = '{target}'")
    except DatabaseError:
        return 0
    return int(found[0][0] or 0)


KINDS = {"fraud_transactions": "fraud"}
"""What `shop.hourly` calls a table, where it is not the table's name."""


def assert_exact(
    settings: Settings, sender: Sender, targets: tuple[str, ...] = ("fraud", "transactions")
) -> None:
    """Nothing lost, nothing twice, nothing rejected, every hour counted, and the offsets at the topic's end."""
    for table, names in sender.sent.items():
        stored = [row[0] for row in query(settings, f"select transaction_id from shop.{table}")]
        assert len(stored) == len(names)
        assert set(stored) == names
    assert query(settings, "select count(*) from shop.rejected") == [(0,)]
    tables = {KINDS.get(table, table): table for table in sender.sent}
    assert hourly(settings.postgres, *tables) == counted_hours(settings.postgres, **tables)
    topic = kafka.find_topic(settings.kafka, sender.topic)
    assert topic is not None
    ends = {partition: bound.end for partition, bound in kafka.bounds(settings.kafka, topic).items()}
    offsets = "select partition, next_offset from shop.stream_offsets where target = '{}' and topic_id = '{}'"
    for target in targets:
        assert dict(query(settings, offsets.format(target, topic.topic_id))) == ends


@contextlib.contextmanager
def consumer(
    environment: dict[str, str], log: "Path", *arguments: str, **changes: str
) -> Iterator[psutil.Popen]:
    """A real `consume` process; whatever is left of its tree at the end is killed."""
    command = [sys.executable, "-m", "fraudstream", "consume", *arguments]
    with log.open("ab") as output:
        process = psutil.Popen(
            command, env=environment | changes, cwd=log.parent, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        kill(process)


def tree(process: psutil.Process) -> list[psutil.Process]:
    """The process with its JVM and its Python workers."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def daemons(process: psutil.Process) -> list[psutil.Process]:
    """Spark's makers of Python workers, and the workers."""
    found = []
    for member in tree(process):
        with contextlib.suppress(psutil.Error):  # it ended while we looked
            if "fraudstream.spark.daemon" in member.cmdline():
                found.append(member)
    return found


def first_daemon(process: psutil.Process, log: "Path") -> psutil.Process:
    """The first that begins, as soon as it does."""
    found: list[psutil.Process] = []

    def begun() -> bool:
        found.extend(daemons(process))
        return bool(found)

    wait_until(begun, "beginning of the first worker", log)
    return found[0]


def gone(process: psutil.Process) -> bool:
    """Whether it has ended; its parent may be slow to take notice."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def end(process: psutil.Popen) -> int:
    """SIGTERM, and the exit code."""
    process.send_signal(signal.SIGTERM)
    return int(process.wait(60))


SMALL_BATCHES = {"FRAUDSTREAM_SPARK__ROWS_PER_BATCH": "2000"}
"""Many commits a second, so that a kill meets one."""
KILLS = ("driver",) * 2 + ("jvm",) * 2 + ("daemon",) * 2 + ("worker",) * 14


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


@pytest.mark.timeout(1800)  # six starts of Spark: 2 minutes on an idle machine, more on a busy one
def test_twenty_kills_lose_and_double_nothing(
    settings: Settings, environment: dict[str, str], tmp_path: "Path"
) -> None:
    """Kill -9 of the driver, of the JVM, of a Python worker or of what makes those, at a random moment, twenty times.

    A consumer whose worker dies goes on by itself, even where it dies as it begins; one whose driver or JVM dies is
    started again.
    """
    chance, sender, before, log = random.Random(42), Sender(settings), 0, tmp_path / "log"
    victims = chance.sample(KILLS, len(KILLS))
    sender.send(4000)
    while victims:
        family: dict[psutil.Process, str] = {}
        with consumer(environment, log, **SMALL_BATCHES) as process:
            if len(victims) == len(KILLS):
                first_daemon(process, log).kill()
            while victims:
                wait_until(lambda b=before: progress(settings) > b, "progress", log)  # type: ignore[misc]
                time.sleep(chance.uniform(0, 0.4))
                victim = victims.pop()
                strike(process, victim, chance, family)
                fatal = victim in {"driver", "jvm"}
                if fatal:
                    # Neither outlives the other: a JVM without its driver would go on reading in secret.
                    wait_until(lambda f=family: all(map(gone, f)), "end of the others", seconds=60)  # type: ignore[misc]
                before = progress(settings)
                sender.send(4000)
                if fatal:
                    break
    with consumer(environment, log, "--once") as process:
        assert process.wait(120) == 0, log.read_text()
    assert_exact(settings, sender)
    told = log.read_text()
    assert "This is a bug" not in told
    assert "A Python worker of Spark was killed" in told
    assert "Spark's Java process is gone" in told
    assert "Traceback" not in told


@pytest.mark.timeout(1800)  # four starts of Spark: half a minute on an idle machine, minutes on a busy one
def test_killed_consumers_of_decisions_keep_the_first_of_each_and_two_at_once_store_each_message_once(
    settings: Settings, environment: dict[str, str], tmp_path: "Path"
) -> None:
    """Kill -9 twice under load; then decisions once more, and transactions, read by two consumers of everything at once."""
    chance, scorer, sender = random.Random(7), Scorer(settings), Sender(settings)
    for _ in range(2):
        scorer.send(4000)
        before = progress(settings, "scores") if _ else 0
        with consumer(environment, tmp_path / "log", "scores", **SMALL_BATCHES) as process:
            wait_until(lambda b=before: progress(settings, "scores") > b, "progress")  # type: ignore[misc]
            time.sleep(chance.uniform(0, 0.2))
            chance.choice(tree(process)).kill()
    with connect(settings.postgres) as connection:
        connection.execute("update shop.stream_offsets set next_offset = 0")
    sender.send(20_000)
    with (
        consumer(environment, tmp_path / "one", "--once", **SMALL_BATCHES) as one,
        consumer(environment, tmp_path / "two", "--once", **SMALL_BATCHES) as two,
    ):
        assert one.wait(600) == 0, (tmp_path / "one").read_text()
        assert two.wait(600) == 0, (tmp_path / "two").read_text()
    assert_exact(settings, scorer, ("scores",))
    assert_exact(settings, sender)


@pytest.fixture
def topic(breakable: Any) -> Settings:
    """The breakable services with a topic and tables of this test's own."""
    settings: Settings = breakable.settings
    with connect(settings.postgres) as connection:
        connection.execute("drop schema if exists shop cascade")
    name = f"breakable-{secrets.token_hex(4)}"
    return settings.model_copy(
        update={"kafka": settings.kafka.model_copy(update={"transactions_topic": name})}
    )


def test_postgres_stopped_at_once_five_times_loses_nothing(
    breakable: Any, topic: Settings, tmp_path: "Path"
) -> None:
    """`stop -m immediate` in the middle of batches; the consumer waits for the server and goes on by itself."""
    sender, server = Sender(topic), EmbeddedPostgres(Home.of(breakable.home))
    name, log = {"FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC": topic.kafka.transactions_topic}, tmp_path / "log"
    with consumer(breakable.environment, log, **SMALL_BATCHES, **name) as process:
        with sender.running():
            for _ in range(5):
                before = progress(topic)
                wait_until(lambda b=before: progress(topic) > b + 2000, "progress", log)  # type: ignore[misc]
                postmaster = server.process()
                assert postmaster is not None
                postmaster.send(signal.SIGQUIT)
                assert postmaster.wait(30)
                breakable.up()
        wait_until(lambda: progress(topic) == sender.done, "end of the topic", log)
        assert end(process) == 130, log.read_text()
    assert "does not answer" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert_exact(topic, sender)


def test_a_killed_broker_loses_nothing(breakable: Any, topic: Settings, tmp_path: "Path") -> None:
    """Kill -9 of the broker in the middle of batches; the consumer goes on when it is back."""
    sender, broker = Sender(topic), EmbeddedKafka(Home.of(breakable.home))
    name, log = {"FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC": topic.kafka.transactions_topic}, tmp_path / "log"
    with consumer(breakable.environment, log, **SMALL_BATCHES, **name) as process:
        with sender.running():
            wait_until(lambda: progress(topic) > 2000, "progress", log)
            found = broker.process()
            assert found is not None
            found.send(signal.SIGKILL)
            assert found.wait(30)
            breakable.up()
            before = progress(topic)
            wait_until(lambda: progress(topic) > before + 2000, "progress", log)
        wait_until(lambda: progress(topic) == sender.done, "end of the topic", log)
        assert end(process) == 130, log.read_text()
    assert_exact(topic, sender)


def test_a_running_consumer_follows_its_topic(
    settings: Settings, environment: dict[str, str], tmp_path: "Path"
) -> None:
    """A partition added while it reads, then the topic deleted and made anew, longer than it was."""
    from confluent_kafka.cimpl import NewPartitions

    admin, name, sender = kafka.admin(settings.kafka), settings.kafka.transactions_topic, Sender(settings)
    with consumer(environment, tmp_path / "log", **SMALL_BATCHES) as process:
        sender.send(1000)
        wait_until(lambda: progress(settings) == 1000, "first thousand")
        admin.create_partitions([NewPartitions(name, 6)])[name].result(30)
        sender.send(1000)
        wait_until(lambda: progress(settings) == 2000, "second thousand")
        admin.delete_topics([name], operation_timeout=30)[name].result(30)
        wait_until(lambda: kafka.find_topic(settings.kafka, name, admin) is None, "deletion", seconds=30)
        sender.send(6000)
        wait_until(lambda: progress(settings) == 8000, "messages of the new topic")
        assert process.poll() is None
        assert end(process) == 130
    assert_exact(settings, sender)
