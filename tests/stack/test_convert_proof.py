"""`convert` sends nothing, and records no position, before its form has fitted one message; then it records it whatever happens."""

import json
import signal
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.cimpl import NewPartitions

from forwarder import forwarded
from fraudstream import kafka
from fraudstream.producer.positions import Positions
from fraudstream.producer.proof import ENOUGH
from fraudstream.settings import Settings
from fraudstream.store.connection import connect
from quotas import slow_writes
from sending import send, spread
from their_topic import FORM, converting, ids, partitions, recorded, sent, theirs
from waiting import running, wait_until

if TYPE_CHECKING:
    from stack.conftest import Run

pytestmark = pytest.mark.usefixtures("postgres")


def test_a_later_run_without_its_form_sends_nothing_either(
    settings: Settings, source: str, call: "Run"
) -> None:
    """As somebody types it who accepts a loss: the rest of the topic would be rejected."""
    send(settings, spread(map(theirs, range(4))), source)
    assert call("convert", source, "--once", *FORM).returncode == 0
    send(settings, spread(map(theirs, range(4, 40))), source)
    done = call("convert", source, "--once", "--accept-loss")
    assert done.returncode == 1
    assert "None of the first 36 messages can be converted" in done.stderr
    assert ids(settings) == [0, 1, 2, 3]
    assert call("convert", source, "--once", *FORM).stdout.startswith("36 converted")


@pytest.mark.parametrize("condition", ["type=paymnet", "typ=payment"])
def test_a_condition_that_nothing_meets_skips_nothing_for_good(
    settings: Settings, source: str, call: "Run", condition: str
) -> None:
    send(settings, spread([*map(theirs, range(9)), b'{"type": "login"}', None]), source)
    wrong = [part.replace("type=payment", condition) for part in FORM]
    for options in (("--once",), ("--preview", "3"), ("--once",)):
        done = call("convert", source, *options, *wrong)
        said = " ".join(done.stderr.split())
        assert done.returncode == 1, options
        there = "type=payment (9), type=login (1)" if condition == "type=paymnet" else "typ=null (10)"
        assert f"None of the first 10 messages is what --only asks for; there are {there}" in said
    assert call("convert", source, "--once", *FORM).stdout.startswith("9 converted, 2 skipped")
    send(settings, [(b'{"type": "login"}', 0)], source)
    quiet = call("convert", source, "--once", *FORM)
    assert quiet.returncode == 0, "a night without payments is no error"
    assert quiet.stdout.startswith("0 converted, 1 skipped")


def test_a_quiet_topic_whose_beginning_is_gone_makes_no_form_new(
    settings: Settings, source: str, call: "Run"
) -> None:
    send(settings, [(theirs(0), 0)], source)
    assert call("convert", source, "--once", *FORM).returncode == 0
    admin = kafka.admin(settings.kafka)  # which must live until it has answered
    for deleted in admin.delete_records([TopicPartition(source, 0, 1)]).values():
        deleted.result()
    send(settings, [(b'{"type": "login"}', 0)] * 5, source)
    quiet = call("convert", source, "--once", *FORM)
    assert quiet.returncode == 0, quiet.stderr
    assert "from where the last run stopped" in " ".join(quiet.stderr.split())


def test_a_run_from_the_end_that_was_refused_is_refused_again(
    settings: Settings, source: str, call: "Run"
) -> None:
    send(settings, spread(map(theirs, range(5))), source)
    assert call("convert", source, "--once", "--from-end").returncode == 0
    send(settings, spread(map(theirs, range(5, 5 + 2 * ENOUGH))), source)
    for _ in range(2):
        assert call("convert", source, "--once", "--from-end").returncode == 1
    assert not sent(settings)
    assert call("convert", source, "--once", *FORM).stdout.startswith(f"{2 * ENOUGH} converted")


def test_seldom_payments_do_not_make_a_wrong_form_a_right_one(
    settings: Settings, source: str, call: "Run"
) -> None:
    """However many other events are between them."""
    login = b'{"type": "login"}'
    values = (theirs(n) if n % 120 == 0 else login for n in range(120 * ENOUGH + 120))
    send(settings, spread(values, 1), source)
    done = call("convert", source, "--once", "--only", "type=payment")
    assert done.returncode == 1
    assert "can be converted" in done.stderr
    assert not sent(settings)


def test_what_nobody_can_read_is_passed_on_by_whoever_wants_it(
    settings: Settings, source: str, call: "Run"
) -> None:
    send(settings, spread([b"old format"] * (ENOUGH + 1)), source)
    refused = call("convert", source, "--once", *FORM)
    assert refused.returncode == 1
    assert "--pass-on" in refused.stderr
    done = call("convert", source, "--once", "--pass-on", *FORM)
    assert f"{ENOUGH + 1} could not be converted and were passed on" in " ".join(done.stdout.split())
    assert len(sent(settings)) == ENOUGH + 1


def test_what_is_held_back_is_not_reported_as_passed_on(
    settings: Settings, source: str, environment: dict[str, str], tmp_path: Path
) -> None:
    kafka.ensure_topic(settings.kafka, source, 1)
    with converting(environment, tmp_path, source, "--json") as process:
        send(settings, [(b"oops", 0)] * 40, source)
        said = process.stderr
        assert said is not None
        wait_until(lambda: "cannot be converted" in said.readline(), "sight of them")
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert "40 passed on" not in rest
    assert not sent(settings)
    assert recorded(settings) == 0


def test_partitions_that_are_added_while_messages_are_held_back_count_none_of_them_twice(
    settings: Settings, source: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """They did, and 40 messages refused a good form after two additions."""
    kafka.ensure_topic(settings.kafka, source, 1)
    bad = [b"oops"] * (ENOUGH // 2)
    with converting(environment, tmp_path, source) as process:
        send(settings, [(value, 0) for value in bad], source)
        admin = kafka.admin(settings.kafka)  # which must live until it has answered
        for count in (2, 3):
            for added in admin.create_partitions([NewPartitions(source, count)]).values():
                added.result()
            wait_until(lambda count=count: partitions(settings, source) == count, "added partition")  # type: ignore[misc]
            known = "select count(*) from shop.stream_progress where stream = 'convert'"
            wait_until(partial(_is, settings, known, count), "sight of it")
        send(settings, [(theirs(1), 2)], source)
        wait_until(lambda: len(sent(settings)) == len(bad) + 1, "all of them")
        assert process.poll() is None


def _is(settings: Settings, question: str, answer: int) -> bool:
    with connect(settings.postgres) as connection:
        return connection.execute(question.encode()).fetchone() == (answer,)


def steadily(settings: Settings, source: str, stop: threading.Event) -> None:
    """Send one payment after another, so that no partition is ever at its end for long."""
    number = 0
    while not stop.wait(0.01):
        send(settings, [(theirs(number), 0)], source)
        number += 1


def test_once_ends_where_the_topic_ended_though_others_go_on_writing(
    settings: Settings, source: str, call: "Run"
) -> None:
    send(settings, spread(map(theirs, range(20))), source)
    with running(partial(steadily, settings, source), lambda: True):
        done = call("convert", source, "--once", *FORM)
        seen = call("convert", source, "--preview", "1000000", *FORM)
    assert done.returncode == seen.returncode == 0
    assert int(done.stdout.split()[0].replace(",", "")) >= 20


def test_a_topic_with_two_forms_has_two_positions(settings: Settings, source: str, call: "Run") -> None:
    values = [theirs(n, type="refund" if n % 2 else "payment") for n in range(10)]
    send(settings, spread(values), source)
    assert call("convert", source, "--once", *FORM).stdout.startswith("5 converted, 5 skipped")
    refunds = (*(part.replace("type=payment", "type=refund") for part in FORM), "--name", "refunds")
    assert call("convert", source, "--once", *refunds).stdout.startswith("5 converted, 5 skipped")
    assert ids(settings) == list(range(10))
    assert recorded(settings, "convert refunds") == 10
    streams = json.loads(call("health", "--json").stdout)["streams"]
    assert {stream["name"] for stream in streams} == {"convert", "convert refunds"}
    wrong = call("convert", source, "--name", "two words", *FORM)
    assert wrong.returncode == 2
    assert "--name" in wrong.stderr


@pytest.mark.parametrize("name", ["", "a b", "a/b"])
def test_what_is_no_name_of_a_topic_is_wrong_use(call: "Run", name: str) -> None:
    """As of an unset variable in a script."""
    done = call("convert", name)
    assert done.returncode == 2
    assert "is no name of a topic" in done.stderr


def test_the_position_is_recorded_however_slow_our_topic_is(
    settings: Settings, source: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """It waited for a moment in which Kafka had everything, which never came: a kill sent all of it again."""
    kafka.ensure_topic(settings.kafka, settings.kafka.transactions_topic, 4)
    for begin in range(0, 200_000, 50_000):
        send(settings, spread(map(theirs, range(begin, begin + 50_000))), source)
    with (
        slow_writes(settings, "fraudstream-produce", 100_000),
        converting(environment, tmp_path, source) as process,
    ):
        wait_until(lambda: recorded(settings) > 0, "first position")
        first = recorded(settings)
        wait_until(lambda: recorded(settings) > first, "next position")
        assert recorded(settings) < 200_000, "the topic was as fast as ever"
        assert process.poll() is None


def test_a_position_that_cannot_be_recorded_at_the_end_is_an_error(
    settings: Settings, source: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """The next run sends some messages again, and somebody is to know."""
    with forwarded(settings.postgres.port) as way:
        own = environment | {
            "FRAUDSTREAM_POSTGRES__HOST": "127.0.0.1",
            "FRAUDSTREAM_POSTGRES__PORT": str(way.port),
        }
        send(settings, spread(map(theirs, range(4))), source)
        with converting(own, tmp_path, source) as process:
            wait_until(lambda: len(sent(settings)) == 4, "messages")
            way.cut()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        position = recorded(settings)
    if position < 4:
        assert process.returncode == 1
        assert "The position could not be recorded" in " ".join(said.split())


def test_while_kafka_is_away_monitoring_is_told_so_and_not_what_was_before(
    settings: Settings, source: str
) -> None:
    topic = kafka.ensure_topic(settings.kafka, source, 1)
    positions = Positions(settings.kafka, settings.postgres, topic, {0: 0})

    def is_there() -> bool:
        positions.look()
        return positions.trouble is None

    wait_until(is_there, "topic")  # on a busy machine a broker may take longer than a look waits
    positions.report(now=True)
    away = settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:9", "timeout_seconds": 1.0})
    lost = Positions(away, settings.postgres, topic, {0: 0})
    lost.look()
    assert lost.trouble is not None
    assert "127.0.0.1:9" in lost.trouble
    asked = "select count(*) from shop.stream_progress where updated_at > now()"
    lost.report(now=True)
    assert _is(settings, asked, 0)
