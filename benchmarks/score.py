"""How late a decision is, Kafka to Kafka: the scorer in real-time mode beside the same job in micro-batches.

One world, one model, one set of profiles. Each mode runs as a user runs it (`fraudstream score`), is sent transactions
at a steady rate, and is measured from the call that sends a message to the arrival of its first answer at a
consumer, batch boundaries and profile refreshes included. A last part fills the topic and lets micro-batches work
through it without a limit.

    python benchmarks/score.py [--seconds S] [--rates 100,2000] [--backlog N] [--trigger S] [--json]

Needs the embedded services (`fraudstream up`) or the ones that the settings name; makes a database and topics of its
own there and removes them. Reads the load of the machine, too: a figure from a busy one says little.
"""

import argparse
import contextlib
import json
import os
import platform
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyspark
from confluent_kafka import Consumer, Producer, TopicPartition
from psycopg import sql

from fraudstream import kafka as kafka_clients
from fraudstream.kafka import client_config
from fraudstream.settings import Settings, load
from fraudstream.store.connection import connect

MODES = ("realtime", "microbatch")
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
DEADLINE = 300.0


class _Id(msgspec.Struct):
    transaction_id: str | None = None


_read_id = msgspec.json.Decoder(_Id).decode


@contextlib.contextmanager
def scratch() -> Iterator[Settings]:
    """The settings in force with a database and topics of this run's own."""
    settings, name = load(), f"bench_{secrets.token_hex(4)}"
    with connect(settings.postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    topics = {"transactions_topic": name, "scored_topic": f"{name}-scored"}
    own = settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(update=topics),
            "postgres": settings.postgres.model_copy(update={"database": name}),
        }
    )
    try:
        yield own
    finally:
        forget_topics(own)
        with connect(settings.postgres, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def forget_topics(settings: Settings) -> None:
    names = [settings.kafka.transactions_topic, settings.kafka.scored_topic]
    for future in kafka_clients.admin(settings.kafka).delete_topics(names, operation_timeout=30).values():
        with contextlib.suppress(Exception):  # a run that failed early made none
            future.result(30)


def environment(settings: Settings, trigger: float) -> dict[str, str]:
    return os.environ | {
        "FRAUDSTREAM_KAFKA__TRANSACTIONS_TOPIC": settings.kafka.transactions_topic,
        "FRAUDSTREAM_KAFKA__SCORED_TOPIC": settings.kafka.scored_topic,
        "FRAUDSTREAM_POSTGRES__DATABASE": settings.postgres.database,
        "FRAUDSTREAM_SCORE__TRIGGER_SECONDS": str(trigger),
        "FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS": str(settings.kafka.bootstrap_servers),
        "FRAUDSTREAM_POSTGRES__HOST": str(settings.postgres.host),
        "FRAUDSTREAM_POSTGRES__PORT": str(settings.postgres.port),
        "FRAUDSTREAM_POSTGRES__USER": settings.postgres.user,
        **(
            {"FRAUDSTREAM_POSTGRES__PASSWORD_FILE": str(settings.postgres.password_file)}
            if settings.postgres.password_file
            else {}
        ),
    }


def fraudstream(settings: Settings, *arguments: str, trigger: float = 10) -> str:
    command = [sys.executable, "-m", "fraudstream", *arguments]
    done = subprocess.run(
        command, env=environment(settings, trigger), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def scorer(settings: Settings, mode: str, trigger: float, *arguments: str) -> Iterator[Path]:
    """A running `fraudstream score`; yields its narration."""
    log = Path(tempfile.mkstemp(prefix=f"fraudstream-{mode}-", suffix=".log")[1])
    command = [sys.executable, "-m", "fraudstream", "--debug", "score", "--mode", mode, *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment(settings, trigger), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + DEADLINE
        while "fraudstream.score: scoring " not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield log
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

    def quantiles(self) -> dict[str, float]:
        """The milliseconds that these shares of all answers stayed below."""
        ordered = sorted(self.late.values())
        return {n: round(ordered[min(int(len(ordered) * s), len(ordered) - 1)], 1) for n, s in SHARES.items()}


def prepare(settings: Settings, history: int) -> list[dict[str, Any]]:
    """Tables, profiles and a champion from simulated history; returns transactions to send."""
    fraudstream(settings, "produce", "--rate", "max", "--count", str(history), "--days", "60")
    fraudstream(settings, "consume", "--once")
    fraudstream(settings, "train", "--algorithm", "isolation_forest")
    lines = fraudstream(settings, "produce", "--dry-run", "--count", "5000").splitlines()
    return [json.loads(line) for line in lines]


def latency(
    settings: Settings, bodies: list[dict[str, Any]], mode: str, rate: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Milliseconds of one mode at one rate, after some of the same that is not counted."""
    with scorer(settings, mode, options.trigger) as log:
        watch = Stopwatch(settings, bodies)
        watch.run(rate, options.warm_up)
        watch.forget()
        watch.run(rate, options.seconds)
        watch.close()
        handovers = log.read_text().count("handing over")
    return {
        "mode": mode,
        "rate": rate,
        "messages": len(watch.sent),
        **watch.quantiles(),
        "answered_twice": round(watch.answers / len(watch.sent) - 1, 3),
        "handovers": handovers,
        "load": os.getloadavg()[0],
    }


def throughput(settings: Settings, options: argparse.Namespace) -> float:
    """Decisions a second while micro-batches work through a full topic, without the first fifth."""
    forget_topics(settings)
    time.sleep(5)  # the broker deletes in the background
    with connect(settings.postgres) as connection:
        connection.execute("delete from shop.stream_offsets where target = 'score'")
    fraudstream(settings, "produce", "--rate", "max", "--count", str(options.backlog))
    topic = kafka_clients.ensure_topic(settings.kafka, settings.kafka.scored_topic)

    def answered() -> int:
        return sum(bound.end for bound in kafka_clients.bounds(settings.kafka, topic).values())

    seen: list[tuple[float, int]] = []
    with scorer(settings, "microbatch", 3600, "--from-beginning"):
        while not seen or seen[-1][1] < options.backlog:
            seen.append((time.perf_counter(), answered()))
            time.sleep(0.2)
    later = [(at, count) for at, count in seen if count >= options.backlog * 0.2]
    (began, first), (ended, last) = later[0], later[-1]
    return (last - first) / (ended - began)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=180, help="of each measurement")
    parser.add_argument("--warm-up", type=float, default=30, help="seconds before it that do not count")
    parser.add_argument("--rates", default="100,2000", help="messages a second")
    parser.add_argument("--modes", default=",".join(MODES), help="which of both")
    parser.add_argument("--trigger", type=float, default=10, help="FRAUDSTREAM_SCORE__TRIGGER_SECONDS")
    parser.add_argument("--history", type=int, default=200_000, help="transactions behind the profiles")
    parser.add_argument(
        "--backlog", type=int, default=1_000_000, help="messages of the throughput; 0 skips it"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    options = parser.parse_args()
    with scratch() as settings:
        bodies = prepare(settings, options.history)
        runs = [
            latency(settings, bodies, mode, rate, options)
            for rate in map(int, options.rates.split(","))
            for mode in options.modes.split(",")
        ]
        rows = throughput(settings, options) if options.backlog else None
    report(options, runs, rows)


def report(options: argparse.Namespace, runs: list[dict[str, Any]], rows: float | None) -> None:
    by = {(run["mode"], run["rate"]): run for run in runs}
    document: dict[str, Any] = {
        "benchmark": "score",
        "trigger_seconds": options.trigger,
        "seconds": options.seconds,
        "latency_ms": runs,
        "ratio_p50": {
            rate: round(by["microbatch", rate]["p50"] / run["p50"], 1)
            for (mode, rate), run in by.items()
            if mode == "realtime" and ("microbatch", rate) in by
        },
        "microbatch_rows_per_second": rows and round(rows),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), "spark": pyspark.__version__},
    }
    if options.json:
        print(json.dumps(document, indent=2))
        return
    print(
        f"{'mode':<12}{'rate':>7}"
        + "".join(f"{name + ' ms':>10}" for name in SHARES)
        + f"{'twice':>8}{'load':>7}"
    )
    for run in runs:
        figures = "".join(f"{run[name]:>10.1f}" for name in SHARES)
        print(f"{run['mode']:<12}{run['rate']:>7}{figures}{run['answered_twice']:>8.1%}{run['load']:>7.1f}")
    for rate, ratio in document["ratio_p50"].items():
        print(f"at {rate}/s real time is {ratio} times faster at p50")
    if rows:
        print(f"micro-batches without a limit: {rows:,.0f} decisions a second")
    print(json.dumps({key: document[key] for key in ("trigger_seconds", "seconds", "cores", "versions")}))


if __name__ == "__main__":
    main()
