"""A stream that stood at an offset which Kafka does not have any more."""

from typing import Any

import pytest

from fraudstream import kafka
from fraudstream.errors import MessagesLost
from fraudstream.kafka import Messages
from fraudstream.settings import PostgresSettings, Settings
from fraudstream.store import offsets, rejected, resumption
from fraudstream.store.migrate import migrate
from fraudstream.store.offsets import Source
from fraudstream.store.slices import store_slice
from fraudstream.store.targets import select
from sending import send


def test_what_kafka_lost_after_it_was_stored_is_no_matter_of_retention(settings: Settings) -> None:
    """As after an unclean election, or on a broker from a backup: it was explained as messages that were never read."""
    migrate(settings.postgres)
    topic = kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 1)
    send(settings, [(b"{}", 0)])

    def begin(*, accept_loss: bool) -> dict[tuple[str, int], int]:
        return resumption.begin(
            *(settings.kafka, settings.postgres, topic, ["transactions"]),
            accepting="`fraudstream consume --accept-loss`",
            accept_loss=accept_loss,
        )

    begin(accept_loss=False)
    offsets.move(settings.postgres, "transactions", topic, 0, 9)
    with pytest.raises(MessagesLost, match=r"offset 9 of .* has 0 to 1: Kafka lost") as caught:
        begin(accept_loss=False)
    assert "retention" not in caught.value.message + caught.value.hint
    assert "`fraudstream consume --accept-loss`" in caught.value.hint
    assert begin(accept_loss=True) == {("transactions", 0): 1}


def test_what_kafka_lost_concerns_every_target_of_the_topic(
    postgres: PostgresSettings, settings: Settings
) -> None:
    """Those above Kafka's end would pass over new messages, and leave no other target their rejects."""
    topic = kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 1)
    send(settings, [(b"bad", 0), (b"bad", 0)])
    for target, offset in {"fraud": 9, "transactions": 1, "score": 9}.items():
        offsets.begin(postgres, [target], topic, {0: offset})

    def begin(*, accept_loss: bool) -> dict[tuple[str, int], int]:
        return resumption.begin(
            *(settings.kafka, postgres, topic, ["transactions", "profiles"]),
            accepting="`fraudstream consume --accept-loss`",
            accept_loss=accept_loss,
        )

    with pytest.raises(
        MessagesLost, match=r"^target fraud is at offset 9 of \S+, but Kafka has 0 to 2: Kafka lost"
    ):
        begin(accept_loss=False)
    assert begin(accept_loss=True) == {("transactions", 0): 1, ("profiles", 0): 0}
    assert offsets.stored(postgres, ["fraud", "score"], topic) == {("fraud", 0): 2, ("score", 0): 9}
    assert begin(accept_loss=False) == {("transactions", 0): 1, ("profiles", 0): 0}
    source, new = Source(topic.name, topic.topic_id, 0), Messages([2], [None], [b"bad"])
    assert store_slice(postgres, source, select(["transactions"]), {}, [new]).rejected == 1


def test_what_another_consumer_stores_during_a_start_is_not_lost(
    postgres: PostgresSettings, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was beyond the end that had just been asked for: a second consumer ended, or its `--accept-loss` moved back."""
    topic = kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 1)
    send(settings, [(b"{}", 0)])
    offsets.begin(postgres, ["transactions"], topic, {0: 0})
    look = kafka.bounds

    def meanwhile(*given: Any) -> Any:
        found = look(*given)
        send(settings, [(b"{}", 0)] * 3)
        offsets.move(postgres, "transactions", topic, 0, 4)
        return found

    monkeypatch.setattr(kafka, "bounds", meanwhile)
    for accept_loss in (False, True):
        start = resumption.begin(
            *(settings.kafka, postgres, topic, ["transactions", "profiles"]),
            accepting="`fraudstream consume --accept-loss`",
            accept_loss=accept_loss,
        )
        assert start == {("transactions", 0): 4, ("profiles", 0): 0}
        assert offsets.stored(postgres, ["transactions"], topic) == {("transactions", 0): 4}
        offsets.move(postgres, "transactions", topic, 0, 0)


def test_a_bad_message_with_the_offset_of_a_lost_one_is_kept_beside_it(settings: Settings) -> None:
    """Its key was there already, so it was neither stored nor counted."""
    migrate(settings.postgres)
    topic = kafka.Topic("topic", "topic-uuid", (0, 1))

    def reject(partition: int, value: bytes) -> int:
        source, bad = Source(topic.name, topic.topic_id, partition), Messages([100], [None], [value])
        return store_slice(settings.postgres, source, select(["transactions", "fraud"]), {}, [bad]).rejected

    assert (reject(0, b"lost"), reject(1, b"kept")) == (1, 1)
    for target in ("transactions", "fraud"):  # one after the other, as `--accept-loss` does
        offsets.move(settings.postgres, target, topic, 0, 90)
    assert (reject(0, b"new"), reject(1, b"kept")) == (1, 0)
    waiting = list(rejected.waiting(settings.postgres))
    assert [message.value for message in waiting] == [b"lost", b"kept", b"new"]
    rejected.mark_replayed(settings.postgres, waiting[:1])
    assert [message.value for message in rejected.waiting(settings.postgres)] == [b"kept", b"new"]
