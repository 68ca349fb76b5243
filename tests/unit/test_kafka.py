"""What the broker's refusals mean, without a broker."""

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

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
