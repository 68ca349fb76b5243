"""What the broker's refusals mean, without a broker."""

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Uuid
from confluent_kafka.admin._topic import TopicDescription

from fraudstream import kafka
from fraudstream.errors import TopicError
from fraudstream.settings import KafkaSettings


def refusal(code: int) -> TopicError:
    """How an answer of the broker with this code is told."""
    answer: Future[Any] = Future()
    answer.set_exception(KafkaException(KafkaError(code)))
    with pytest.raises(TopicError) as caught:
        kafka._answer(KafkaSettings(), answer)
    return caught.value


@pytest.mark.parametrize(
    "code", [KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.FENCED_LEADER_EPOCH]
)
def test_a_broker_that_learns_of_a_new_leader_is_asked_again(code: int) -> None:
    """A topic that was made a moment ago, on a busy machine: the broker answers that it knows an older leader."""
    assert isinstance(refusal(code), kafka._NotReady)


def test_a_right_that_is_missing_is_told_at_once() -> None:
    assert not isinstance(refusal(KafkaError.TOPIC_AUTHORIZATION_FAILED), kafka._NotReady)


def test_a_broker_that_gives_topics_no_id_is_refused_instead_of_mixing_up_their_offsets() -> None:
    """Kafka before 2.8: every topic has the same id, and what is stored of one would be skipped in the next."""
    assert kafka._described(TopicDescription("new", Uuid(1, 2), False, [])).topic_id == str(Uuid(1, 2))
    with pytest.raises(TopicError, match="gives topic old no id") as caught:
        kafka._described(TopicDescription("old", Uuid(0, 0), False, []))
    assert "2.8" in caught.value.hint
