"""Senders that remember every id, consumers to break, and what must be stored when they are through."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psutil
from confluent_kafka import Producer

from feature_world import NUMBERS
from fraudstream import kafka
from fraudstream.errors import DatabaseError
from fraudstream.features.catalogue import COUNTERS
from fraudstream.features.profiles import combine, fold, fold_labels
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.spark.consume import consume
from fraudstream.store import held
from fraudstream.store.connection import translated
from fraudstream.store.training_rows import transactions
from hours import counted_hours, hourly
from profile_world import ALL, stored_profiles
from same_profiles import assert_same
from samples import decision, message
from waiting import HANG_SECONDS, wait_until

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from fraudstream.spark.consumer import Summary

Sent = dict[str, set[str]]
"""Table to the ids that were sent for it."""


@dataclass
class Sender:
    """Sends good and fraudulent messages in the background, and remembers every id."""

    settings: Settings
    rate: int = 1000
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
    """Rows, by the one connection that tests hold: a login for each look takes longer than what is looked at."""
    with translated(settings.postgres):
        return held.connection(settings.postgres).execute(sql.encode()).fetchall()


def progress(settings: Settings) -> int:
    """How many transactions were passed; 0 while PostgreSQL is away or empty."""
    try:
        found = query(
            settings, "select sum(next_offset) from shop.stream_offsets where target = 'transactions'"
        )
    except DatabaseError:
        return 0
    return int(found[0][0] or 0)


KINDS = {"fraud_transactions": "fraud"}
"""What `shop.hourly` calls a table, where it is not the table's name."""


def assert_exact(
    settings: Settings, sender: Sender, targets: tuple[str, ...] = ALL, *, labels: bool = False
) -> None:
    """Nothing lost, nothing twice, nothing rejected, every hour and profile counted, the offsets at the topic's end.

    `labels` counts what profiles learned from them, too, which a stream does by the minute and as `--once` ends.
    """
    for table, names in sender.sent.items():
        stored = [row[0] for row in query(settings, f"select transaction_id from shop.{table}")]
        assert len(stored) == len(names)
        assert set(stored) == names
    assert query(settings, "select count(*) from shop.rejected") == [(0,)]
    tables = {KINDS.get(table, table): table for table in sender.sent}
    assert hourly(settings.postgres, *tables) == counted_hours(settings.postgres, **tables)
    if "profiles" in targets:
        assert_profiles(settings.postgres, labels=labels)
    topic = kafka.find_topic(settings.kafka, sender.topic)
    assert topic is not None
    ends = {partition: bound.end for partition, bound in kafka.bounds(settings.kafka, topic).items()}
    offsets = "select partition, next_offset from shop.stream_offsets where target = '{}' and topic_id = '{}'"
    for target in targets:
        assert dict(query(settings, offsets.format(target, topic.topic_id))) == ends


def assert_profiles(postgres: PostgresSettings, *, labels: bool) -> None:
    """Every counter of every profile is that of the stored transactions, to nine digits: one counted twice would show."""
    rows, known = transactions(postgres), datetime.now(UTC) - timedelta(days=7)
    found, expected = stored_profiles(postgres), fold(rows)
    if labels:
        expected = combine([expected, fold_labels(transactions(postgres, until=known))])
    of_labels = {name for name, counter in COUNTERS.items() if counter.of_labels}
    assert_same(found, expected, NUMBERS if labels else set(NUMBERS) - of_labels)


def in_batches(settings: Settings, rows: int) -> Settings:
    """Settings for a consumer in this process whose micro-batches are small: more commits, for a fault to meet one."""
    return settings.model_copy(update={"spark": settings.spark.model_copy(update={"rows_per_batch": rows})})


@contextlib.contextmanager
def consuming(
    spark: "SparkSession", settings: Settings, *, accept_loss: bool = False
) -> Iterator["Future[Summary]"]:
    """A consumer of the transactions topic in this process, which runs until the block ends."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(consume, spark, settings, ALL, once=False, stop=stop, accept_loss=accept_loss)
        try:
            yield running
        finally:
            stop.set()


def await_progress(settings: Settings, running: "Future[Summary]", passed: int) -> None:
    """Wait until a consumer of this process has passed so many messages, and runs on."""
    wait_until(lambda: running.done() or progress(settings) >= passed, f"message {passed:,}")
    assert not running.done(), running.exception()
    assert progress(settings) == passed


def tree(process: psutil.Process) -> list[psutil.Process]:
    """The process with its JVM and its Python workers."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def gone(process: psutil.Process) -> bool:
    """Whether it has ended; its parent may be slow to take notice."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def end(process: psutil.Popen) -> int:
    """SIGTERM, and the exit code."""
    process.send_signal(signal.SIGTERM)
    return int(process.wait(HANG_SECONDS))
