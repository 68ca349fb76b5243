"""How far a scorer that was stopped has answered: its next start answers nothing again, and nothing seems to wait."""

import json
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from fraudstream.kafka import bounds, client_config, ensure_topic
from fraudstream.settings import Settings
from fraudstream.spark.settlement import settled
from fraudstream.store.connection import connect
from live_scorer import Topics, live_topics, scorer
from samples import message
from sending import send
from waiting import wait_until


@pytest.fixture
def live(settings: Settings) -> Iterator[Topics]:
    with live_topics(settings, 2) as topics:
        yield topics


def test_after_an_orderly_stop_nothing_waits_and_the_next_start_answers_nothing_again(
    live: Topics, environment: dict[str, str], tmp_path: Path
) -> None:
    """The messages of up to a minute were, though all had been answered: `health` paged, and the next start warned."""
    settings = live.settings
    # A query whose batch does not end before the stop.
    there = environment | {"FRAUDSTREAM_SCORE__TRIGGER_SECONDS": "60"}
    log = tmp_path / "log"
    with scorer(there, log) as process:
        live.send(300)
        live.send_bad([b"{", b"\xff", None])
        live.await_answers(live.sent, log)
        live.await_refusals(log)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130, log.read_text()
    topic = ensure_topic(settings.kafka, settings.kafka.transactions_topic)
    ends = {place: bound.end for place, bound in bounds(settings.kafka, topic).items()}
    with connect(settings.postgres) as connection:
        stored = connection.execute(
            "select partition, next_offset from shop.stream_offsets where target = 'score'"
        )
        assert dict(stored.fetchall()) == ends
    new = []
    with scorer(there, log) as process:
        new = live.send(50)
        live.await_answers(new, log)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130, log.read_text()
    assert json.loads(log.with_suffix(".json").read_text())["decisions"] == len(new)
    live.read()
    assert {len(decisions) for decisions in live.answers.values()} == {1}
    assert "stored before they could be scored" not in log.read_text()


def test_answers_reach_up_to_the_first_message_that_lacks_one_and_over_what_readers_never_see(
    settings: Settings,
) -> None:
    """In each partition; a later answer does not count, nor one that is only another partition's."""
    topic = ensure_topic(settings.kafka, settings.kafka.transactions_topic, 4)
    values = [[message(transaction_id=f"{place}-{n}") for n in range(4)] for place in range(4)]
    values[1][1] = b"not JSON"
    send(settings, [(value, place) for place in range(3) for value in values[place]])
    producer = Producer(client_config(settings.kafka) | {"transactional.id": secrets.token_hex(4)})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic.name, values[3][0], partition=3)
    producer.commit_transaction(30)
    known: set[object] = {f"0-{n}" for n in range(4)} | {"1-0", (1, 1), "1-2", "1-3", "2-1", "2-3", "3-0"}

    def found() -> dict[int, int]:
        return settled(settings.kafka, topic, {0: 0, 1: 0, 2: 1, 3: 0}, known.__contains__)

    wait_until(lambda: found()[3] == 2, "marker, which the broker writes after it has said that it will")
    assert found() == {0: 4, 1: 4, 2: 2, 3: 2}


def test_without_a_broker_a_stop_settles_nothing_and_does_not_wait(settings: Settings) -> None:
    topic = ensure_topic(settings.kafka, settings.kafka.transactions_topic)
    gone = settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:9"})
    assert settled(gone, topic, {0: 7}, lambda _: True) == {0: 7}
