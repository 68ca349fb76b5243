"""The scorer's own tally of the topic that it writes."""

import pytest
from confluent_kafka.cimpl import NewPartitions

from fraudstream import kafka
from fraudstream.settings import Settings
from fraudstream.spark.answers import Answers
from samples import REFUSAL, decision
from sending import send, spread
from waiting import wait_until

FOREIGN = (
    None,
    b"not JSON",
    b"\xff",
    decision(transaction_id="WHO").replace(b"WHO", b"\xff"),
    decision(scored_at="2025-03-01T10:30:00"),
    decision(sent_at="2025-03-01T10:30:00"),
    b'{"scored_at": "2025-03-01T10:30:00Z", "x": ' + b"[" * 100_000,
)


def test_messages_of_others_in_the_scored_topic_do_not_end_the_count_of_ours(settings: Settings) -> None:
    topic = kafka.ensure_topic(settings.kafka, settings.kafka.scored_topic)
    answers = Answers(settings.kafka, topic)
    ours = [decision(transaction_id=f"ours-{number}") for number in range(len(FOREIGN))]
    mixed = [value for pair in zip(FOREIGN, ours, strict=True) for value in pair]
    try:
        send(settings, [(value, 0) for value in (*mixed, REFUSAL)], topic.name)
        wait_until(lambda: answers.whole().refused == 1, "the last answer")
    finally:
        answers.close()
    told = answers.whole()
    assert (told.decisions, told.repeated) == (len(FOREIGN), 0)
    median = told.latencies.quantile(0.5)
    assert median is not None
    assert 10 < median < 12


def test_what_was_answered_before_a_stop_is_counted_though_it_is_read_after_it(settings: Settings) -> None:
    """It was not: a scorer that was stopped after a burst told of fewer decisions than it had made."""
    topic = kafka.ensure_topic(settings.kafka, settings.kafka.scored_topic)
    answers = Answers(settings.kafka, topic)
    send(settings, spread([decision(transaction_id=f"t-{number}") for number in range(20_000)]), topic.name)
    answers.close()
    assert answers.whole().decisions == 20_000


def test_answers_in_partitions_that_were_added_are_counted_from_the_first_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were not: a scorer seemed to answer less than it did."""
    monkeypatch.setattr("fraudstream.spark.answers.LOOK_SECONDS", 0.5)
    topic = kafka.ensure_topic(settings.kafka, settings.kafka.scored_topic, 1)
    answers, admin = Answers(settings.kafka, topic), kafka.admin(settings.kafka)
    try:
        admin.create_partitions([NewPartitions(topic.name, 2)])[topic.name].result(30)
        wait_until(lambda: len(admin.list_topics(topic.name, 10).topics[topic.name].partitions) == 2, "it")
        send(settings, spread([decision(transaction_id="in-0"), decision(transaction_id="in-1")]), topic.name)
        wait_until(lambda: answers.whole().decisions == 2, "both answers")
    finally:
        answers.close()
