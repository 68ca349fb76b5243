"""A stream that stood at an offset which Kafka does not have any more."""

import pytest

from fraudstream import kafka
from fraudstream.errors import MessagesLost
from fraudstream.settings import Settings
from fraudstream.spark import recovery
from fraudstream.store import offsets
from fraudstream.store.migrate import migrate
from sending import send


def test_what_kafka_lost_after_it_was_stored_is_no_matter_of_retention(settings: Settings) -> None:
    """As after an unclean election, or on a broker from a backup: it was explained as messages that were never read."""
    migrate(settings.postgres)
    topic = kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 1)
    send(settings, [(b"{}", 0)])

    def begin(*, accept_loss: bool) -> dict[tuple[str, int], int]:
        return recovery.begin(
            *(settings.kafka, settings.postgres, topic, ["transactions"]),
            command="fraudstream consume",
            accept_loss=accept_loss,
        )

    begin(accept_loss=False)
    offsets.move(settings.postgres, "transactions", topic, 0, 9)
    with pytest.raises(MessagesLost, match=r"offset 9 of .* has 0 to 1: Kafka lost") as caught:
        begin(accept_loss=False)
    assert "retention" not in caught.value.message + caught.value.hint
    assert "`fraudstream consume --accept-loss`" in caught.value.hint
    assert begin(accept_loss=True) == {("transactions", 0): 1}
