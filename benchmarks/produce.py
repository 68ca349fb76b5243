"""How many messages a second `produce --rate max` generates, encodes and gets acknowledged.

Beside it, in the same run and on the same topic settings, the loop that one writes first: `json.dumps` and `produce`
for each message, once with messages made on the way (as `produce` makes its own) and once with messages that
were ready. All three use the same librdkafka settings, so the difference is the program's own.

    python benchmarks/produce.py [--count N] [--rounds N] [--json]

Needs a broker: `fraudstream up`, or FRAUDSTREAM_KAFKA__BOOTSTRAP_SERVERS.
"""

import argparse
import json
import os
import platform
import random
import secrets
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import confluent_kafka
import numpy as np

from fraudstream.kafka import admin, bounds, ensure_topic
from fraudstream.producer.delivery import deliver, limited
from fraudstream.producer.pace import FASTEST
from fraudstream.producer.sender import LINGER_FAST_MS, Sender
from fraudstream.producer.simulated import Plan, simulated
from fraudstream.settings import KafkaSettings, load
from fraudstream.simulate import SECOND, Encoder, Stream, World


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


def measured(kafka: KafkaSettings, count: int, way: Callable[[str], None]) -> dict[str, float]:
    """Acknowledged messages a second, and CPU microseconds for each, by one way and into a new topic."""
    topic = f"bench-{secrets.token_hex(4)}"
    made_topic = ensure_topic(kafka, topic)
    wall, cpu = time.perf_counter(), time.process_time()
    way(topic)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    held = sum(b.end - b.first for b in bounds(kafka, made_topic).values())
    assert held == count, f"{held} of {count} messages are in the topic"
    client = admin(kafka)
    client.delete_topics([topic])[topic].result(30)
    return {"per_second": count / wall, "cpu_us": cpu / count * 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000_000, help="messages of a measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each way; the median counts")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    options = parser.parse_args()
    kafka, count = load().kafka, options.count
    # The loops are slower; a third of the messages takes them as long.
    few = max(count // 3, 1)
    prepared = ready(few)
    ways: dict[str, tuple[int, Callable[[str], None]]] = {
        "produce --rate max": (count, lambda topic: ours(kafka, topic, count)),
        "loop, messages made": (few, lambda topic: loop(kafka, topic, made(few))),
        "loop, messages ready": (few, lambda topic: loop(kafka, topic, iter(prepared))),
    }
    measured(kafka, few, lambda topic: ours(kafka, topic, few))  # the broker's first topic is its slowest
    results: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    # Ways take turns, so that whatever else the machine does meets all of them.
    for _ in range(options.rounds):
        for name, (size, way) in ways.items():
            results[name].append(measured(kafka, size, way))
    table = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in results.items()
    }
    best = table["produce --rate max"]["per_second"]
    document = {
        "benchmark": "produce",
        "count": count,
        "rounds": options.rounds,
        "ways": {name: {k: round(v, 2) for k, v in row.items()} for name, row in table.items()},
        "ratio": {name: round(best / row["per_second"], 2) for name, row in table.items()},
        "runs": {name: [round(run["per_second"]) for run in runs] for name, runs in results.items()},
        "cores": os.cpu_count(),
        "load_1_min": os.getloadavg()[0],
        "versions": {
            "python": platform.python_version(),
            "confluent-kafka": confluent_kafka.version(),
            "librdkafka": confluent_kafka.libversion()[0],
            "numpy": np.__version__,
        },
    }
    if options.json:
        print(json.dumps(document, indent=2))
        return
    print(f"{'way':<22} {'messages/s':>12} {'CPU us each':>12} {'ratio':>7}")
    for name, row in table.items():
        print(
            f"{name:<22} {row['per_second']:>12,.0f} {row['cpu_us']:>12.2f} {best / row['per_second']:>7.2f}"
        )
    print(json.dumps({key: document[key] for key in ("cores", "load_1_min", "versions")}))


if __name__ == "__main__":
    main()
