"""A topic that allows only small messages: batches of them have to be small, too."""

from typing import TYPE_CHECKING

import pytest
from confluent_kafka.cimpl import NewTopic

from fraudstream import kafka
from fraudstream.settings import Settings

if TYPE_CHECKING:
    from stack.conftest import Run


@pytest.mark.usefixtures("postgres")
def test_a_topic_of_small_messages_takes_them_all(settings: Settings, call: "Run") -> None:
    """A batch of a megabyte was refused, with all of its messages."""
    admin = kafka.admin(settings.kafka)  # which must live until it has answered
    name = settings.kafka.transactions_topic
    new = NewTopic(name, 1, 1, config={"max.message.bytes": "20000"})
    for made in admin.create_topics([new]).values():
        made.result()
    done = call("produce", "--rate", "max", "--count", "2000")
    assert done.returncode == 0, done.stderr
    assert kafka.message_limit(settings.kafka, name) == 20_000
