"""Decisions through real Kafka and Spark: beside the transactions, with reasons, and how far each stream has come."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import TopicPartition

from fraudstream import kafka
from fraudstream.errors import MessagesLost
from fraudstream.kafka import Topic
from fraudstream.metrics import ConsumeMonitor
from fraudstream.rules import Rule, load_rules
from fraudstream.settings import Settings
from fraudstream.spark.consume import consume
from fraudstream.spark.consumer import Summary
from fraudstream.spark.progress import Progress
from fraudstream.store import registry
from fraudstream.store.connection import connect
from fraudstream.store.targets import TARGETS
from hours import counted_hours, hourly
from model_world import ensemble, packed
from rows import query
from samples import REFUSAL, decision, message
from sending import send, spread

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

pytestmark = pytest.mark.usefixtures("postgres")

ALL = tuple(TARGETS)
TREES = ensemble(("amount_to_user_mean", 5.0, -1.0, 3.0))
RULES = """
- name: pace
  condition: user_count_10m > 5
  reason: "{user_count_10m:.0f} payments in ten minutes"
  severity: high
"""


def test_decisions_get_as_many_partitions_as_transactions_whoever_makes_their_topic(
    spark: "SparkSession", settings: Settings
) -> None:
    """`consume` is started before `score`, on a topic of the company's own: four would keep 64 tasks waiting.

    Topics are made before the first query begins, so none needs to.
    """
    kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 6)
    stop = threading.Event()
    stop.set()
    consume(spark, settings, ALL, once=True, stop=stop)
    scored = kafka.find_topic(settings.kafka, settings.kafka.scored_topic)
    assert scored is not None
    assert len(scored.partitions) == 6


def once(spark: "SparkSession", settings: Settings, *targets: str, rules: Sequence[Rule] = ()) -> Summary:
    return consume(spark, settings, targets, once=True, stop=threading.Event(), rules=rules)


def test_consume_all_stores_transactions_and_decisions_side_by_side(
    spark: "SparkSession", settings: Settings, tmp_path: "Path"
) -> None:
    """Two topics, one summary; alerts speak the operator's words; then both topics again from the beginning."""
    (tmp_path / "rules.yaml").write_text(RULES)
    registry.register(settings.postgres, *packed("m-1", TREES))
    values = [message(transaction_id=f"t{n}", is_fraud=int(n % 10 == 0)) for n in range(200)]
    send(settings, spread(values))
    features = {"amount_to_user_mean": 41.0, "user_count_10m": 6.2}
    flagged = {"flagged": True, "risk": 0.9, "rules": ["pace"], "features": features}
    decisions = [decision(transaction_id=f"t{n}", **(flagged if n % 10 == 0 else {})) for n in range(200)]
    send(settings, spread([*decisions, *decisions[:50], REFUSAL, b"poison"]), settings.kafka.scored_topic)
    summary = once(spark, settings, *ALL, rules=load_rules(tmp_path / "rules.yaml"))
    assert summary.stored == {"transactions": 180, "fraud": 20, "profiles": 200, "scores": 200}
    assert (summary.duplicates["scores"], summary.refused, summary.rejected) == (50, 1, 1)
    (reasons,) = query(settings.postgres, "select distinct reasons from shop.alerts")
    assert [reason["sentence"] for reason in reasons[0]] == [
        "6 payments in ten minutes", "amount 12.50 is 41 times this customer's usual 0.30",
    ]  # fmt: skip
    progress = "select stream, sum(end_offset), sum(next_offset), count(*) from shop.stream_progress group by 1 order by 1"
    assert query(settings.postgres, progress) == [("consume", 200, 200, 4), ("consume scores", 252, 252, 4)]
    with connect(settings.postgres) as connection:
        connection.execute("update shop.stream_offsets set next_offset = 0")
    again = once(spark, settings, *ALL)
    assert (again.stored["scores"], again.duplicates["scores"], again.rejected) == (0, 250, 0)
    tables = {
        "transactions": "transactions",
        "fraud": "fraud_transactions",
        "scores": "scores",
        "alerts": "alerts",
    }
    assert hourly(settings.postgres, *tables) == counted_hours(settings.postgres, **tables)
    assert query(settings.postgres, "select sum(count)::int from shop.risk_bins") == [(200,)]


def test_a_stream_that_fails_stops_the_one_beside_it_with_its_cause(
    spark: "SparkSession", settings: Settings
) -> None:
    """Running on with half of the work would look as if all were well."""
    topic = settings.kafka.scored_topic
    send(settings, spread([decision(transaction_id=f"t{n}") for n in range(8)]), topic)
    once(spark, settings, "scores")
    send(settings, spread([decision(transaction_id=f"u{n}") for n in range(40)]), topic)
    admin = kafka.admin(settings.kafka)
    for future in admin.delete_records([TopicPartition(topic, 0, 6)]).values():
        future.result(30)
    with pytest.raises(MessagesLost, match=f"is at offset 2 of {topic}/0"):
        consume(spark, settings, ALL, once=False, stop=threading.Event())
    assert spark.streams.active == []


def test_what_cannot_be_written_down_is_said_and_stops_nothing(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL away, the topic gone: whether that is for good, the stream itself finds out. Said once, not every 5 s."""
    admin = kafka.admin(settings.kafka)
    topic = kafka.ensure_topic(settings.kafka, settings.kafka.scored_topic)
    nobody = settings.postgres.model_copy(update={"port": 1})
    gone = Topic(f"{topic.name}-gone", "uuid", (0,))
    away = [
        Progress(settings.kafka, nobody, admin, ConsumeMonitor(60), "consume", topic),
        Progress(settings.kafka, settings.postgres, admin, ConsumeMonitor(60), "consume", gone),
    ]
    for progress, reason in zip(away, ("does not answer", "is gone"), strict=True):
        caplog.clear()
        assert progress.tell({0: 0}, 500) > 0
        assert progress.tell({0: 0}, 500) == 0
        (record,) = caplog.records
        assert reason in record.getMessage()
