"""A real `score` process, the messages that it is sent and everything that it answers."""

import contextlib
import secrets
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition

from fraudstream import kafka
from fraudstream.decision import Decision, Refusal
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.store import registry
from fraudstream.store.migrate import migrate
from model_world import ensemble, packed
from samples import message
from waiting import wait_until


def promote(postgres: PostgresSettings, version: str, *, trees: int = 1, **changes: Any) -> None:
    """Register a model that flags amounts above 100, and make it champion. Many trees take their time."""
    split = ("amount", 100.0, -3.0 / trees, 3.0 / trees)
    registry.register(postgres, *packed(version, ensemble(*[split] * trees), **changes))
    registry.promote(postgres, version)


@dataclass
class Topics:
    """Both topics: sends transactions, remembers their ids, and reads every answer there is."""

    settings: Settings
    sent: list[str] = field(default_factory=list)
    bad: int = 0
    answers: dict[str, list[Decision]] = field(default_factory=lambda: defaultdict(list))
    refusals: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        # Without the last, up to ten seconds pass after a broker's return.
        config = kafka.client_config(self.settings.kafka) | {"reconnect.backoff.max.ms": 500}
        self._producer = Producer(config | {"log_level": 0, "message.max.bytes": 1_040_000})
        self._consumer = Consumer(config | {"group.id": secrets.token_hex(4), "log_level": 0})
        transactions = self.settings.kafka.transactions_topic
        kafka.ensure_topic(self.settings.kafka, transactions)
        scored = kafka.ensure_topic(self.settings.kafka, self.settings.kafka.scored_topic, like=transactions)
        self._consumer.assign([TopicPartition(scored.name, partition, 0) for partition in scored.partitions])

    def send(self, count: int, **changes: Any) -> list[str]:
        """Send so many good messages; returns their ids."""
        names = [f"t-{len(self.sent) + n:06d}" for n in range(count)]
        for n, name in enumerate(names):
            self._send(
                message(transaction_id=name, user_id=f"u{n % 7}", amount=n + 1, **changes), f"u{n % 7}"
            )
        assert self._producer.flush(60) == 0
        self.sent += names
        return names

    @contextlib.contextmanager
    def flowing(self) -> Iterator[None]:
        """Send on in the background, some 200 a second, while the block runs; nobody else sends meanwhile."""
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(0.1):
                self.send(20)

        self.send(20)
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(work)
            try:
                yield
            finally:
                stop.set()
        sending.result()

    def send_bad(self, values: Sequence[bytes | None]) -> None:
        """Send messages that are no transactions."""
        for value in values:
            self._send(value, "nobody")
        assert self._producer.flush(60) == 0
        self.bad += len(values)

    def _send(self, value: bytes | None, key: str) -> None:
        self._producer.produce(self.settings.kafka.transactions_topic, value, key)
        self._producer.poll(0)

    def read(self) -> None:
        """Take in what was answered since the last look."""
        for answer in self._consumer.consume(10_000, 0.2):
            if answer.error():
                continue
            value = answer.value() or b""
            if b'"rejected"' in value:
                refusal = msgspec.json.decode(value, type=Refusal)
                self.refusals.add((refusal.partition, refusal.offset))
            else:
                decision = msgspec.json.decode(value, type=Decision)
                assert answer.key() == decision.user_id.encode()
                self.answers[decision.transaction_id].append(decision)

    def await_answers(self, names: Sequence[str], log: Path | None = None) -> None:
        """Wait until each of these has a decision. `log` is that of a scorer with a process of its own."""

        def answered() -> bool:
            if log:
                assert '"error"' not in (said := log.with_suffix(".json").read_text()), said
            self.read()
            return all(name in self.answers for name in names)

        wait_until(answered, "answer to every message", log)

    def await_refusals(self, log: Path | None = None) -> None:
        """Wait until each bad message has its refusal, and nothing else has one."""

        def refused() -> bool:
            self.read()
            return len(self.refusals) >= self.bad

        wait_until(refused, "refusal of every bad message", log)
        assert len(self.refusals) == self.bad

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()


@contextlib.contextmanager
def live_topics(settings: Settings, partitions: int, *, trees: int = 1) -> Iterator[Topics]:
    """Topics of so many partitions, and a champion called "first"."""
    kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, partitions)
    migrate(settings.postgres)
    promote(settings.postgres, "first", trees=trees)
    with contextlib.closing(Topics(settings)) as topics:
        yield topics


@contextlib.contextmanager
def command(environment: dict[str, str], log: Path, *arguments: str) -> Iterator["psutil.Popen"]:
    """A real command, which prints its document beside its log; what is left of it at the end is killed."""
    words = [sys.executable, "-m", "fraudstream", *arguments, "--json"]
    with log.open("ab") as errors, log.with_suffix(".json").open("wb") as output:
        process = psutil.Popen(words, env=environment, cwd=log.parent, stdout=output, stderr=errors)
    try:
        yield process
    finally:
        kill(process)


@contextlib.contextmanager
def scorer(environment: dict[str, str], log: Path, *arguments: str) -> Iterator["psutil.Popen"]:
    """A real `score` process that has begun."""

    def begun() -> int:
        return log.read_text().count("fraudstream.score: scoring ") if log.exists() else 0

    before = begun()
    with command(environment, log, "score", *arguments) as process:
        wait_until(lambda: process.poll() is not None or begun() > before, "start", log)
        assert process.poll() is None, log.read_text()
        yield process


def kill(process: "psutil.Popen") -> None:
    """Kill -9, the JVM included."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait(30)
