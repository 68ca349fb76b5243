"""Topics that allow large messages, or only small ones, and what `produce` and `convert` make of that."""

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from fraudstream import kafka
from fraudstream.settings import Settings
from sending import send
from their_topic import FORM, converting, ids, recorded, roomy, sent, theirs

if TYPE_CHECKING:
    from stack.conftest import Run


pytestmark = pytest.mark.usefixtures("postgres")


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


def test_a_message_larger_than_clients_send_by_default_is_passed_on_and_holds_up_none(
    settings: Settings, source: str, call: "Run"
) -> None:
    """A topic may allow more than a client's megabyte: it failed, and no position was recorded any more."""
    roomy(settings, source, settings.kafka.transactions_topic)
    large = secrets.token_bytes(2_000_000)  # which no compression makes smaller
    send(settings, [(theirs(0), 0), (large, 0), (theirs(1), 0)], source)
    done = call("convert", source, "--once", *FORM)
    assert done.returncode == 0, done.stderr
    assert large in sent(settings)
    assert call("convert", source, "--once", *FORM).stdout.startswith("0 converted")


def test_a_message_that_our_topic_does_not_allow_ends_it_and_nothing_is_sent_again(
    settings: Settings, source: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """Nothing is lost: it goes on there once the topic allows it, however often somebody starts it until then."""
    kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 1)
    roomy(settings, source)
    large = secrets.token_bytes(2_000_000)
    send(settings, [(theirs(0), 0), (large, 0), (theirs(1), 0)], source)
    for options in ((), ("--once",), ("--once",)):
        with converting(environment, tmp_path, source, *options) as process:
            _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert f"{source}/0, offset 1 is not accepted" in " ".join(said.split())
        assert "max.message.bytes" in said
        assert ids(settings) == [0]


def test_what_was_held_back_before_a_message_that_is_refused_is_sent_once(
    settings: Settings, source: str, call: "Run"
) -> None:
    """It was sent again at every start: a restarting supervisor filled our topic."""
    kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 1)
    roomy(settings, source)
    bad = [b"oops1", b"oops2"]
    large = secrets.token_bytes(2_000_000)
    send(settings, [(value, 0) for value in (*bad, large, theirs(1))], source)
    for _ in range(3):
        assert call("convert", source, "--once", *FORM).returncode == 1
        assert sent(settings) == bad
        assert recorded(settings) == 2


def test_a_large_key_fails_alone_too(settings: Settings, source: str, call: "Run") -> None:
    kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 1)
    roomy(settings, source)
    producer = Producer(kafka.client_config(settings.kafka) | {"message.max.bytes": 20_000_000})
    for key, value in ((b"k", theirs(0)), (secrets.token_bytes(1_500_000), b"bad"), (b"k", theirs(1))):
        producer.produce(source, value, key=key)
    assert producer.flush(30) == 0
    for _ in range(2):
        done = call("convert", source, "--once", *FORM)
        assert done.returncode == 1
        assert f"{source}/0, offset 1 is not accepted" in " ".join(done.stderr.split())
        assert ids(settings) == [0]


def test_large_messages_that_become_small_ones_wait_for_nothing(
    settings: Settings, source: str, call: "Run"
) -> None:
    """Each was settled, and its position recorded: 600 took two minutes, and PostgreSQL away meant one in ten seconds."""
    send(settings, [(theirs(n, note="x" * 120_000), 0) for n in range(300)], source)
    done = call("convert", source, "--once", "--json", *FORM)
    assert json.loads(done.stdout)["converted"] == 300
    assert ids(settings) == list(range(300))
