"""Messages a second into Kafka: `fraudstream produce --rate max` beside what one writes first and beside Kafka's own tool.

The loop that one writes first is `json.dumps` and `produce` for each message, once with messages made on the way (as
`produce` makes its own) and once with messages that were ready; all three use the same librdkafka settings, so
the difference is the program's own. Kafka's tool, `kafka-producer-perf-test`, is Java: it repeats messages of a file, with
the same guarantees, batches and compression. A last part looks at what `--rate 100` does, message by message.

    python benchmarks/produce.py [--count N] [--rounds N] [--steady SECONDS] [--quick] [--json]

Needs a broker: `fraudstream up`, or FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS.
"""

import json
import os
import random
import re
import secrets
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from connect import TOOLS
from measure import Line, alone, beside, in_turns, options, report
from stage import messages, remove_topic

from fraudstream.kafka import bounds, client_config, ensure_topic, java_config
from fraudstream.local.jars import ensure
from fraudstream.local.java import find_java
from fraudstream.micros import SECOND
from fraudstream.producer.delivery import deliver, limited
from fraudstream.producer.pace import FASTEST
from fraudstream.producer.run import Simulation, produce
from fraudstream.producer.sender import LINGER_FAST_MS, Sender
from fraudstream.producer.simulated import Plan, simulated
from fraudstream.settings import KafkaSettings, Settings, load
from fraudstream.simulate import Encoder, Stream, World

RATE = 100
JAVA = "kafka-producer-perf-test"
ENOUGH = 300_000
"""Messages a second with which nobody asks how many times a loop that is."""
WINDOW_MS = 100
"""A burst is more messages in such a window than the rate allows."""


def ours(kafka: KafkaSettings, topic: str, count: int) -> None:
    """The way of `fraudstream produce --rate max`."""
    stop = threading.Event()
    plan = Plan(start=int(time.time()) * SECOND, fraud_rate=0.005, rate=FASTEST)
    sender = Sender(kafka, topic, stop, linger_ms=LINGER_FAST_MS)
    report = deliver(limited(simulated(World(), plan), count), sender, stop)
    assert (report.sent, report.failed) == (count, 0)


def loop(kafka: KafkaSettings, topic: str, documents: Iterator[dict[str, Any]]) -> None:
    """The way that one writes first."""
    producer = Sender(kafka, topic, threading.Event(), linger_ms=LINGER_FAST_MS)._producer  # noqa: SLF001 - the same settings
    for document in documents:
        value = json.dumps(document)
        while True:
            try:
                producer.produce(topic, key=document["user_id"], value=value)
                break
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
    assert producer.flush(60) == 0


def people(count: int) -> list[dict[str, str]]:
    encoder = Encoder(World(), 0)
    return [encoder.person(user) for user in range(count)]


def made(count: int) -> Iterator[dict[str, Any]]:
    """Messages with the fields of ours, made one by one."""
    users = people(3_000)
    for _ in range(count):
        user = random.choice(users)
        yield {
            "transaction_id": str(uuid.uuid4()),
            "timestamp": datetime.now(UTC).isoformat(),
            "amount": round(random.uniform(1, 500), 2),
            **user,
            "device": random.choice(("iPhone 15", "Pixel 8", "Chrome on Windows")),
            "transaction_location": user["location"],
            "merchant_id": f"m42-{random.randrange(1_000):05d}",
            "currency": "USD",
            "is_fraud": 0,
        }


def ready(count: int) -> list[dict[str, Any]]:
    """Messages of ours, decoded: what the loop would send if making them cost nothing."""
    world = World()
    values = Encoder(world, 0).encode(
        Stream(world, 0).steady((np.arange(min(count, 50_000)) * 10).astype(np.int64), 1e5), 0
    )[1]
    documents = [json.loads(value) for value in values]
    return [documents[n % len(documents)] for n in range(count)]


def perf_test(settings: Settings, topic: str, count: int) -> float:
    """Messages a second by Kafka's own tool and its own clock, which leaves out the start of Java; messages like ours."""
    properties = {
        **java_config(settings.kafka),
        "acks": "all", "enable.idempotence": "true", "compression.type": "lz4",
        "linger.ms": str(LINGER_FAST_MS), "batch.size": "1000000", "buffer.memory": str(64 << 20),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        payloads, config = Path(name) / "payloads", Path(name) / "producer.properties"
        payloads.write_bytes(b"\n".join(messages(50_000)))
        config.write_text("".join(f"{k}={v}\n" for k, v in properties.items()), encoding="utf-8")
        command = [
            str(find_java().binary),
            "-Xmx1g",
            "-cp",
            os.pathsep.join(map(str, ensure(TOOLS, settings))),
        ]
        command += [
            "org.apache.kafka.tools.ProducerPerformance",
            "--topic",
            topic,
            "--num-records",
            str(count),
        ]
        command += ["--payload-file", str(payloads), "--throughput", "-1", "--command-config", str(config)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # "1000000 records sent, 231481.5 records/sec (85.41 MB/sec), 12.1 ms avg latency, …"; the last such line is of all.
    return float(re.findall(r"([\d.]+) records/sec", said)[-1])


def measured(settings: Settings, count: int, way: Callable[[str], float | None]) -> tuple[float, float]:
    """Acknowledged messages a second, and CPU microseconds for each, by one way and into a new topic.

    A way that has a clock of its own returns what that said.
    """
    kafka, topic = settings.kafka, f"bench-{secrets.token_hex(4)}"
    made_topic = ensure_topic(kafka, topic)
    began, before = time.perf_counter(), os.times()
    said = way(topic)
    seconds, after = time.perf_counter() - began, os.times()
    held = sum(b.end - b.first for b in bounds(kafka, made_topic).values())
    assert held == count, f"{held} of {count} messages are in the topic"
    remove_topic(kafka, topic)
    return said or count / seconds, sum(after[i] - before[i] for i in range(4)) / count * 1e6


def steady(kafka: KafkaSettings, seconds: int) -> list[Line]:
    """What the broker's clock says of `produce --rate 100`: its pace, and the most messages in a tenth of a second."""
    topic = f"bench-{secrets.token_hex(4)}"
    own = kafka.model_copy(update={"transactions_topic": topic})
    produce(Simulation(seed=42, users=3_000, fraud_rate=0.005), own, rate=RATE, count=RATE * seconds)
    at = np.sort(_times(own, topic, RATE * seconds))
    remove_topic(kafka, topic)
    pace = float((len(at) - 1) / (at[-1] - at[0]) * 1000)
    most = int((np.searchsorted(at, at + WINDOW_MS) - np.arange(len(at))).max())
    return [
        alone(
            f"produce --rate {RATE}, off by",
            abs(pace / RATE - 1) * 100,
            "%",
            at_most=1.0,
            note=f"{pace:.2f} a second",
        ),
        alone(
            f"produce --rate {RATE}, most in {WINDOW_MS} ms",
            most,
            "messages",
            at_most=2 * RATE * WINDOW_MS / 1000,
        ),
    ]


def _times(kafka: KafkaSettings, topic: str, count: int) -> Any:
    """When the broker took each message, milliseconds."""
    from confluent_kafka import Consumer

    group = {"group.id": topic, "auto.offset.reset": "earliest"}
    consumer = Consumer({**client_config(kafka), **group})
    consumer.subscribe([topic])
    times: list[int] = []
    deadline = time.monotonic() + 60
    while len(times) < count:
        assert time.monotonic() < deadline, f"{len(times)} of {count} messages came back"
        times += [message.timestamp()[1] for message in consumer.consume(count, 1.0)]
    consumer.close()
    return np.array(times)


def main() -> None:
    chosen = options(__doc__, count=1_000_000, rounds=3, steady=30)
    settings, count = load(), chosen.count
    kafka = settings.kafka
    # The loops are slower; a third of the messages takes them as long.
    few = max(count // 3, 1)
    prepared = ready(few)
    ways: dict[str, tuple[int, Callable[[str], float | None]]] = {
        "produce --rate max": (count, lambda topic: ours(kafka, topic, count)),
        "loop, messages made": (few, lambda topic: loop(kafka, topic, made(few))),
        "loop, messages ready": (few, lambda topic: loop(kafka, topic, iter(prepared))),
        JAVA: (count, lambda topic: perf_test(settings, topic, count)),
    }
    measured(settings, few, lambda topic: ours(kafka, topic, few))  # the broker's first topic is its slowest
    runs = in_turns(
        {name: partial(measured, settings, size, way) for name, (size, way) in ways.items()}, chosen.rounds
    )
    report("produce", [*lines(runs), *steady(kafka, chosen.steady)], chosen, count=count, runs=runs)


def lines(runs: dict[str, list[tuple[float, float]]]) -> list[Line]:
    """What the rounds say."""
    goals = {"loop, messages made": 5.0, "loop, messages ready": None, JAVA: None}
    (ours_name, *_), found = runs, []
    started = "; Java's start is included, unlike in its rate"
    for against, goal in goals.items():
        mine, theirs = runs[ours_name], runs[against]
        found += [
            beside(
                ours_name, [r for r, _ in mine], "messages/s", against, [r for r, _ in theirs],
                at_least=goal, or_value=None if goal is None else ENOUGH,
            ),
            beside(
                f"{ours_name}, CPU", [c for _, c in mine], "us each", against, [c for _, c in theirs],
                less_is_better=True, note=f"without the broker{started if against == JAVA else ''}",
            ),
        ]  # fmt: skip
    return found


if __name__ == "__main__":
    main()
