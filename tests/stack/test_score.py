"""The live scorer as a real process, with real services that go away: every message is answered."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from fraudstream import kafka
from fraudstream.decision import Decision, Refusal
from fraudstream.local.home import Home
from fraudstream.local.kafka import EmbeddedKafka
from fraudstream.local.postgres import EmbeddedPostgres
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.store import registry
from fraudstream.store.connection import connect
from model_world import ensemble, packed
from samples import BAD, message

SECONDS = 300.0
"""A deadline for a busy machine; nothing here waits for it when all is well."""
REFUSED = [value for name, (value, _) in BAD.items() if not name.startswith(("truth of", "truth as"))]


def wait_until(true: Callable[[], bool], what: str, log: Path | None = None) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, f"still no {what}: {log.read_text() if log else ''}"
        time.sleep(0.1)


def promote(postgres: PostgresSettings, version: str, **changes: Any) -> None:
    """Register a model that flags amounts above 100, and make it champion."""
    registry.register(postgres, *packed(version, ensemble(("amount", 100.0, -3.0, 3.0)), **changes))
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
        config = kafka.client_config(self.settings.kafka)
        self._producer = Producer(config | {"log_level": 0, "message.max.bytes": 1_040_000})
        self._consumer = Consumer(config | {"group.id": secrets.token_hex(4), "log_level": 0})
        scored = kafka.ensure_topic(self.settings.kafka, self.settings.kafka.scored_topic, 2)
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

    def await_answers(self, names: Sequence[str], log: Path) -> None:
        """Wait until each of these has a decision."""

        def answered() -> bool:
            self.read()
            return all(name in self.answers for name in names)

        wait_until(answered, "answer to every message", log)

    def await_refusals(self, log: Path) -> None:
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
def scorer(environment: dict[str, str], log: Path, *arguments: str) -> Iterator["psutil.Popen"]:
    """A real `score` process that has begun; what is left of it at the end is killed."""
    command = [sys.executable, "-m", "fraudstream", "score", "--json", *arguments]
    with log.open("ab") as errors, log.with_suffix(".json").open("wb") as output:
        process = psutil.Popen(command, env=environment, cwd=log.parent, stdout=output, stderr=errors)
    began = log.read_text().count("fraudstream.score: scoring ")
    try:
        wait_until(
            lambda: (
                process.poll() is not None or log.read_text().count("fraudstream.score: scoring ") > began
            ),
            "start",
            log,
        )
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        kill(process)


def kill(process: "psutil.Popen") -> None:
    """Kill -9, the JVM included."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait(30)


@pytest.fixture
def live(breakable: Any) -> Iterator[Topics]:
    """Breakable services with topics and an empty database of this test's own."""
    settings: Settings = breakable.settings
    with connect(settings.postgres) as connection:
        connection.execute("drop schema if exists shop cascade")
    name = f"live-{secrets.token_hex(4)}"
    own = {"transactions_topic": name, "scored_topic": f"{name}-scored", "partitions": 2}
    topics = Topics(
        settings.model_copy(update={"kafka": settings.kafka.model_copy(update=own)}),
    )
    kafka.ensure_topic(topics.settings.kafka, name)
    yield topics
    topics.close()


def environment_of(breakable: Any, topics: Topics, trigger: int = 5) -> dict[str, str]:
    chosen: dict[str, str] = breakable.environment
    return chosen | {
        "FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC": topics.settings.kafka.transactions_topic,
        "FRAUDSTREAM_KAFKA__SCORED_TOPIC": topics.settings.kafka.scored_topic,
        "FRAUDSTREAM_SCORE__TRIGGER_SECONDS": str(trigger),
    }


def test_every_message_is_answered_whatever_is_killed(breakable: Any, live: Topics, tmp_path: Path) -> None:
    """Bad messages, a promotion, PostgreSQL away, the scorer killed, the broker killed, the topic made anew."""
    log, environment, postgres = tmp_path / "log", environment_of(breakable, live), live.settings.postgres
    history = live.send(20)
    promote(postgres, "first")
    with scorer(environment, log) as process:
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

        server = EmbeddedPostgres(Home.of(breakable.home)).process()
        assert server is not None
        server.send(signal.SIGQUIT)
        assert server.wait(30)
        wait_until(lambda: "Scoring goes on with the profiles of" in log.read_text(), "word of it", log)
        live.await_answers(live.send(100), log)
        breakable.up()
        wait_until(lambda: "PostgreSQL answers again" in log.read_text(), "word of its return", log)
        live.await_answers(live.send(100), log)
        live.send(50)
        kill(process)
    missed = live.send(100)
    with scorer(environment, log) as process:
        live.await_answers([*live.sent[len(history) :], *missed], log)

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


def test_micro_batches_answer_the_same(breakable: Any, live: Topics, tmp_path: Path) -> None:
    """From the beginning where it is asked for; the same risk as in real time is proved without Kafka."""
    promote(live.settings.postgres, "only")
    names = live.send(500)
    live.send_bad(REFUSED)
    log, environment = tmp_path / "log", environment_of(breakable, live)
    with scorer(environment, log, "--mode", "microbatch", "--from-beginning") as process:
        live.await_answers(names, log)
        live.await_refusals(log)
        live.await_answers(live.send(50), log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 130, log.read_text()
    assert json.loads(log.with_suffix(".json").read_text())["refused"] <= live.bad


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
    from fraudstream.store.migrate import migrate

    migrate(settings.postgres)
    promote(settings.postgres, "good")
    rules = tmp_path / "rules.yaml"
    rules.write_text("- name: one\n  condition: amount > 5\n  reason: big\n  severity: enormous\n")
    error = fails("--rules", os.fspath(rules))
    assert (error["mistakes"][0]["line"], error["mistakes"][0]["column"]) == (4, 13)
