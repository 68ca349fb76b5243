"""The scorer's own tally of the topic that it writes."""

from confluent_kafka import Producer

from fraudstream import kafka
from fraudstream.settings import Settings
from fraudstream.spark.answers import Answers
from samples import REFUSAL, decision
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
    answers, producer = Answers(settings.kafka, topic), Producer(kafka.client_config(settings.kafka))
    try:
        for number, foreign in enumerate(FOREIGN):
            producer.produce(topic.name, foreign, partition=0)
            producer.produce(topic.name, decision(transaction_id=f"ours-{number}"), partition=0)
        producer.produce(topic.name, REFUSAL, partition=0)
        assert producer.flush(60) == 0
        wait_until(lambda: answers.whole().refused == 1, "the last answer")
    finally:
        answers.close()
    told = answers.whole()
    assert (told.decisions, told.repeated) == (len(FOREIGN), 0)
    median = told.latencies.quantile(0.5)
    assert median is not None
    assert 10 < median < 12
