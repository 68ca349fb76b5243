"""How late a decision is, Kafka to Kafka: the scorer in real-time mode beside the same job in both kinds of micro-batches.

One world, one model, one set of profiles. Each way runs as a user runs it (`fraudstream score`), is sent transactions
at a steady rate, and is measured from the call that sends a message to the arrival of its first answer at a consumer,
batch boundaries and profile refreshes included: in two turns of half of `--seconds`, forth and back. A last part fills
the topic and lets micro-batches work through it without a limit, in turns with profiles that each batch looks up and
with a broadcast of all.

    python benchmarks/score.py [--seconds S] [--warmup S] [--trigger S] [--backlog N] [--quick] [--json]

Needs the embedded services (`fraudstream up`) or the ones that the settings name; makes a database and topics of its
own there and removes them.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import stage
from confluent_kafka import Consumer, Producer, TopicPartition
from measure import alone, beside, in_turns, options, report

from fraudstream import kafka as kafka_clients
from fraudstream.kafka import client_config
from fraudstream.settings import ProfilesBy, Settings
from fraudstream.spark.mode import Mode
from fraudstream.store.connection import connect


class Way(StrEnum):
    """How `fraudstream score` runs."""

    REALTIME = "real time"
    BATCHES = "micro-batches"
    """The same expressions, a broadcast of all profiles."""
    LOOKUP = "micro-batches that look up"


MODES = {
    Way.REALTIME: (Mode.REALTIME, ProfilesBy.BROADCAST),
    Way.BATCHES: (Mode.MICROBATCH, ProfilesBy.BROADCAST),
    Way.LOOKUP: (Mode.MICROBATCH, ProfilesBy.LOOKUP),
}
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
RATES: dict[int, dict[str, int]] = {100: {"p50": 15, "p99": 100}, 2000: {"p50": 30}}
"""Messages a second, and the milliseconds that should not be passed."""
TIMES = 15
"""How many times faster than micro-batches real time should be."""
ROWS = 30_000
"""Decisions a second that micro-batches should reach."""
TURNS = 2
"""How often each way is measured at each rate, and works through the full topic."""
SLOWEST = 2_000
"""Decisions a second below which the full topic is not waited for."""
DEADLINE = 300.0


class _Id(msgspec.Struct):
    transaction_id: str | None = None


_read_id = msgspec.json.Decoder(_Id).decode


@contextlib.contextmanager
def scratch() -> Iterator[Settings]:
    """The settings in force with a database and topics of this run's own."""
    with stage.scratch() as settings:
        scored = f"{settings.kafka.transactions_topic}-scored"
        try:
            yield settings.model_copy(
                update={"kafka": settings.kafka.model_copy(update={"scored_topic": scored})}
            )
        finally:
            stage.remove_topic(settings.kafka, scored)


def forget_topics(settings: Settings) -> None:
    """Delete both, and wait until they are gone: the broker deletes in the background."""
    for name in (settings.kafka.transactions_topic, settings.kafka.scored_topic):
        stage.remove_topic(settings.kafka, name)
        deadline = time.monotonic() + DEADLINE
        while kafka_clients.find_topic(settings.kafka, name) is not None:
            assert time.monotonic() < deadline, f"{name} was not deleted"
            time.sleep(0.2)


def environment(settings: Settings, trigger: float) -> dict[str, str]:
    """In which a program scores from one topic of this run into the other."""
    return stage.environment(settings) | {
        "FRAUDSTREAM_KAFKA__SCORED_TOPIC": settings.kafka.scored_topic,
        "FRAUDSTREAM_SCORE__TRIGGER_SECONDS": str(trigger),
    }


def fraudstream(settings: Settings, *arguments: str, trigger: float = 10) -> str:
    command = [sys.executable, "-m", "fraudstream", *arguments]
    done = subprocess.run(
        command, env=environment(settings, trigger), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Running:
    """A `fraudstream score` with its narration."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def assert_well(self, deadline: float) -> None:
        """It runs, and the deadline has not passed."""
        assert self.process.poll() is None, self.log.read_text()
        assert time.monotonic() < deadline, self.log.read_text()[-5_000:]

    @property
    def handovers(self) -> int:
        """How often it has handed over so far."""
        return self.log.read_text().count("handing over")


@contextlib.contextmanager
def scorer(settings: Settings, way: Way, trigger: float, *arguments: str) -> Iterator[Running]:
    """A running `fraudstream score`."""
    mode, profiles = MODES[way]
    log = Path(tempfile.mkstemp(prefix=f"fraudstream-{mode}-", suffix=".log")[1])
    command = [sys.executable, "-m", "fraudstream", "--debug", "score", "--mode", mode, *arguments]
    found = environment(settings, trigger) | {"FRAUDSTREAM_SCORE__PROFILES": profiles}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=found, stdout=output, stderr=subprocess.STDOUT)
    try:
        running, deadline = Running(process, log), time.monotonic() + DEADLINE
        while "fraudstream.score: scoring " not in log.read_text():
            running.assert_well(deadline)
            time.sleep(0.1)
        yield running
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@dataclass
class Stopwatch:
    """Sends at a steady rate and takes the time until each first answer, in milliseconds."""

    settings: Settings
    bodies: list[dict[str, Any]]
    sent: dict[str, float] = field(default_factory=dict)
    late: dict[str, float] = field(default_factory=dict)
    answers: int = 0

    def __post_init__(self) -> None:
        config = client_config(self.settings.kafka)
        self._producer = Producer(config | {"linger.ms": 0})
        self._consumer = Consumer(config | {"group.id": secrets.token_hex(4), "fetch.wait.max.ms": 5})
        topic = kafka_clients.ensure_topic(self.settings.kafka, self.settings.kafka.scored_topic)
        ends = kafka_clients.bounds(self.settings.kafka, topic)
        self._consumer.assign([TopicPartition(topic.name, p, bound.end) for p, bound in ends.items()])
        self._done = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def run(self, rate: int, seconds: float) -> None:
        """Send for so long, then wait until everything is answered."""
        topic, began, count = self.settings.kafka.transactions_topic, time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            while count < passed * rate:
                body = self.bodies[count % len(self.bodies)]
                name = f"{id(self):x}-{len(self.sent)}"
                value = msgspec.json.encode(body | {"transaction_id": name})
                self.sent[name] = time.perf_counter()
                self._producer.produce(topic, value, key=body["user_id"])
                count += 1
            self._producer.poll(0)
            time.sleep(0.001)
        deadline = time.monotonic() + DEADLINE
        while len(self.late) < len(self.sent):
            self._producer.poll(0)
            assert time.monotonic() < deadline, f"{len(self.sent) - len(self.late)} messages have no answer"
            time.sleep(0.05)

    def forget(self) -> None:
        """Leave out what was measured so far: it warmed up."""
        self.sent.clear()
        self.late.clear()
        self.answers = 0

    def close(self) -> None:
        """Stop listening."""
        self._done.set()
        self._listener.join()
        self._consumer.close()

    def _listen(self) -> None:
        while not self._done.is_set():
            for message in self._consumer.consume(500, 0.01):
                now, value = time.perf_counter(), message.value()
                if message.error() or value is None:
                    continue
                name = _read_id(value).transaction_id
                if name in self.sent:
                    self.answers += 1
                    self.late.setdefault(name, (now - self.sent[name]) * 1000)


@dataclass(frozen=True)
class Turn:
    """What one turn of a way measured."""

    late: list[float]
    """Milliseconds of each message."""
    answers: int
    handovers: int


def quantiles(late: Iterable[float]) -> dict[str, float]:
    """The milliseconds that these shares of all answers stayed below."""
    ordered = sorted(late)
    return {n: round(ordered[min(int(len(ordered) * s), len(ordered) - 1)], 1) for n, s in SHARES.items()}


def prepare(settings: Settings, history: int) -> list[dict[str, Any]]:
    """Tables, profiles and a champion from simulated history; returns transactions to send."""
    fraudstream(settings, "produce", "--rate", "max", "--count", str(history), "--days", "60")
    fraudstream(settings, "consume", "--once")
    fraudstream(settings, "train", "--algorithm", "isolation_forest")
    lines = fraudstream(settings, "produce", "--dry-run", "--count", "5000").splitlines()
    return [json.loads(line) for line in lines]


def latencies(
    settings: Settings, bodies: list[dict[str, Any]], rate: int, chosen: argparse.Namespace
) -> dict[Way, dict[str, Any]]:
    """Milliseconds of each way at one rate, in turns of one length: forth and back, so that none is always the first."""
    turns: dict[Way, list[Turn]] = {way: [] for way in Way}
    for number in range(TURNS):
        for way in reversed(Way) if number % 2 else Way:
            turns[way].append(latency(settings, bodies, way, rate, chosen))
    return {way: figures(way, rate, found) for way, found in turns.items()}


def latency(
    settings: Settings, bodies: list[dict[str, Any]], way: Way, rate: int, chosen: argparse.Namespace
) -> Turn:
    """One turn of a way, after some of the same that is not counted."""
    with scorer(settings, way, chosen.trigger) as running:
        watch = Stopwatch(settings, bodies)
        watch.run(rate, chosen.warmup)
        watch.forget()
        before = running.handovers
        watch.run(rate, chosen.seconds / TURNS)
        watch.close()
        found = Turn([*watch.late.values()], watch.answers, running.handovers - before)
    said = {"way": way.value, "rate": rate, **quantiles(found.late), "load": os.getloadavg()[0]}
    print(said, file=sys.stderr, flush=True)
    return found


def figures(way: Way, rate: int, turns: list[Turn]) -> dict[str, Any]:
    """What all turns of a way say together."""
    late = [milliseconds for turn in turns for milliseconds in turn.late]
    return {
        "way": way.value,
        "rate": rate,
        "messages": len(late),
        **quantiles(late),
        "max": round(max(late), 1),
        "answered_twice": round(sum(turn.answers for turn in turns) / len(late) - 1, 3),
        "handovers": sum(turn.handovers for turn in turns),
        "turns": [quantiles(turn.late) for turn in turns],
    }


def throughput(settings: Settings, chosen: argparse.Namespace, way: Way) -> float:
    """Decisions a second while micro-batches work through a full topic, without the first fifth."""
    forget_topics(settings)
    with connect(settings.postgres) as connection:
        connection.execute("delete from shop.stream_offsets where target = 'score'")
    fraudstream(settings, "produce", "--rate", "max", "--count", str(chosen.backlog))
    topic = kafka_clients.ensure_topic(settings.kafka, settings.kafka.scored_topic)

    def answered() -> int:
        return sum(bound.end for bound in kafka_clients.bounds(settings.kafka, topic).values())

    seen: list[tuple[float, int]] = []
    with scorer(settings, way, 3600, "--from-beginning") as running:
        deadline = time.monotonic() + DEADLINE + chosen.backlog / SLOWEST
        while not seen or seen[-1][1] < chosen.backlog:
            running.assert_well(deadline)
            seen.append((time.perf_counter(), answered()))
            time.sleep(0.2)
    later = [(at, count) for at, count in seen if count >= chosen.backlog * 0.2]
    (began, first), (ended, last) = later[0], later[-1]
    rows = (last - first) / (ended - began)
    found = {"way": way.value, "decisions/s": round(rows), "load": os.getloadavg()[0]}
    print(found, file=sys.stderr, flush=True)
    return rows


def main() -> None:
    # Three minutes at each rate in each way, as the 99th percentile of real time is made of hand-overs.
    chosen = options(__doc__, seconds=180, warmup=30, history=200_000, backlog=1_000_000, trigger=10)
    chosen.trigger = max(chosen.trigger, 10)  # Spark takes no less than 5, also where it is --quick
    with scratch() as settings:
        bodies = prepare(settings, chosen.history)
        runs = {rate: latencies(settings, bodies, rate, chosen) for rate in RATES}
        rows = in_turns(
            {way: partial(throughput, settings, chosen, way) for way in (Way.LOOKUP, Way.BATCHES)}, TURNS
        )
    lines = []
    for rate, at_most in RATES.items():
        fast = runs[rate][Way.REALTIME]
        lines += [
            beside(
                f"real time at {rate}/s, {share}",
                [fast[share]],
                "ms",
                slow,
                [runs[rate][slow][share]],
                less_is_better=True,
                at_least=TIMES if (share, rate) == ("p50", min(RATES)) else None,
            )
            for slow in (Way.BATCHES, Way.LOOKUP)
            for share in SHARES
        ]
        lines += [
            alone(f"real time at {rate}/s, {share}", fast[share], "ms", at_most=limit)
            for share, limit in at_most.items()
        ]
    asked, sent = rows[Way.LOOKUP], rows[Way.BATCHES]
    lines += [
        beside(f"{Way.LOOKUP}, without a limit", asked, "decisions/s", Way.BATCHES, sent),
        alone(f"{Way.LOOKUP}, without a limit", median(asked), "decisions/s", at_least=ROWS),
        alone(f"{Way.BATCHES}, without a limit", median(sent), "decisions/s", at_least=ROWS),
    ]
    report(
        "score",
        lines,
        chosen,
        trigger_seconds=chosen.trigger,
        runs=[found for ways in runs.values() for found in ways.values()],
    )


if __name__ == "__main__":
    main()
