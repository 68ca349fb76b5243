"""`convert`: the messages of a company's own topic, as transactions."""

import json
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.cimpl import NewPartitions

from forwarder import forwarded
from fraudstream import kafka
from fraudstream.producer import proof
from fraudstream.settings import Settings
from fraudstream.store.connection import connect
from samples import message
from sending import send, spread
from their_topic import FORM, converting, ids, more, partitions, sent, theirs
from waiting import wait_until

if TYPE_CHECKING:
    from stack.conftest import Run

pytestmark = pytest.mark.usefixtures("postgres")


def test_payments_are_converted_other_events_skipped_and_the_rest_passed_on(
    settings: Settings, source: str, run: "Run"
) -> None:
    """The rest is for `shop.rejected`: nothing is lost on the way there."""
    bad = [b"\xff", theirs(8, total="free"), theirs(9, at="noon")]
    send(settings, spread([bad[0], *map(theirs, range(8)), *bad[1:], b'{"type": "login"}', None]), source)
    done = run("convert", source, "--once", "--json", *FORM)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document.pop("seconds") > 0
    assert document == {"converted": 8, "unreadable": 3, "skipped": 2, "interrupted": False}
    assert "total: not a number" not in done.stderr  # our own name stands there
    assert "amount: not a number" in done.stderr
    found = sent(settings)
    assert sorted(value for value in found if value in bad) == sorted(bad)
    converted = [json.loads(value) for value in found if value not in bad]
    assert sorted(c["transaction_id"] for c in converted) == [str(number) for number in range(8)]
    assert {c["user_id"] for c in converted} == {str(number) for number in range(7)}


def test_it_goes_on_where_it_stopped_and_says_where_it_is(
    settings: Settings, source: str, call: "Run"
) -> None:
    send(settings, spread(map(theirs, range(10))), source)
    assert call("convert", source, "--once", *FORM).stdout.startswith("10 converted, 0 skipped")
    send(settings, spread(map(theirs, range(10, 14))), source)
    assert call("convert", source, "--once", *FORM).stdout.startswith("4 converted, 0 skipped")
    assert ids(settings) == list(range(14))
    with connect(settings.postgres) as connection:
        (reached,) = connection.execute(
            "select sum(next_offset) from shop.stream_progress where stream = 'convert' and topic = %s",
            (source,),
        ).fetchone() or (None,)
    assert reached == 14


def test_killed_again_and_again_it_loses_no_message(
    settings: Settings, source: str, environment: dict[str, str], tmp_path: Path, call: "Run"
) -> None:
    """Some come twice, with the same id: consumers store the first."""
    count = 0
    for turn in range(3):
        send(settings, spread(map(theirs, range(count, count + 20_000))), source)
        count += 20_000
        with converting(environment, tmp_path, source) as process:
            wait_until(partial(more, settings, turn * 20_000), "message of this turn")
            process.send_signal(signal.SIGKILL)
    done = call("convert", source, "--once", *FORM)
    assert done.returncode == 0, done.stderr
    assert sorted(set(ids(settings))) == list(range(count))


def test_ctrl_c_ends_it_with_everything_sent_and_the_position_recorded(
    settings: Settings, source: str, environment: dict[str, str], tmp_path: Path, call: "Run"
) -> None:
    send(settings, spread(map(theirs, range(5_000))), source)
    with converting(environment, tmp_path, source) as process:
        wait_until(lambda: bool(sent(settings)), "message")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 0
    before = ids(settings)
    assert len(set(before)) == len(before)
    call("convert", source, "--once", *FORM)
    assert ids(settings) == list(range(5_000))


def test_a_form_that_fits_no_message_sends_nothing_and_names_the_fields(
    settings: Settings, source: str, call: "Run"
) -> None:
    """Otherwise all of a company's topic would be in `shop.rejected`."""
    send(settings, [(b"oops", 0), *((theirs(n), 0) for n in range(3))], source)
    assert call("convert", source, "--once").returncode == 1
    done = call("convert", source, "--once")  # the first attempt has decided nothing
    assert done.returncode == 1
    assert "None of the first 4 messages can be converted" in done.stderr
    assert "transaction_id: Field required" in done.stderr
    assert "type, id, card.number, at, total, shop.city" in " ".join(done.stderr.split())
    assert not sent(settings)
    assert call("convert", source, "--once", *FORM).stdout.startswith("3 converted")


def test_a_form_of_which_nothing_fits_ends_a_stream_too(settings: Settings, source: str, call: "Run") -> None:
    send(settings, spread(map(theirs, range(proof.ENOUGH))), source)
    done = call("convert", source)
    assert done.returncode == 1
    assert "can be converted" in done.stderr


def test_what_comes_first_and_cannot_be_converted_is_held_back_and_not_lost(
    settings: Settings, source: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """A form is not judged by one message; meanwhile the stream is alive, and its position stays before that message."""
    kafka.ensure_topic(settings.kafka, source, 1)

    def reported() -> list[tuple[int, int]]:
        with connect(settings.postgres) as connection:
            return connection.execute(
                "select next_offset, end_offset from shop.stream_progress where stream = 'convert'"
            ).fetchall()

    with converting(environment, tmp_path, source) as process:
        wait_until(lambda: reported() == [(0, 0)], "report of an empty topic")
        send(settings, [(b"oops", 0), (b'{"type": "login"}', 0)], source)
        wait_until(lambda: reported() == [(0, 2)], "report of what is held back")
        assert not sent(settings)
        send(settings, [(theirs(1), 0)], source)
        wait_until(lambda: len(sent(settings)) == 2, "message that was held back")
        wait_until(lambda: reported() == [(3, 3)], "report of all")
        assert b"oops" in sent(settings)
        assert process.poll() is None


def test_deleted_messages_are_an_error_until_the_loss_is_accepted(
    settings: Settings, source: str, call: "Run"
) -> None:
    send(settings, [(theirs(n), 0) for n in range(2)], source)
    assert call("convert", source, "--once", *FORM).returncode == 0
    send(settings, [(theirs(n), 0) for n in range(2, 6)], source)
    admin = kafka.admin(settings.kafka)  # which must live until it has answered
    for deleted in admin.delete_records([TopicPartition(source, 0, 4)]).values():
        deleted.result()
    lost = call("convert", source, "--once", *FORM)
    assert lost.returncode == 1
    assert "the same command with --accept-loss" in " ".join(lost.stderr.split())
    assert call("convert", source, "--once", "--accept-loss", *FORM).stdout.startswith("2 converted")
    assert ids(settings) == [0, 1, 4, 5]


def test_a_first_run_may_begin_with_the_next_message(settings: Settings, source: str, call: "Run") -> None:
    send(settings, spread(map(theirs, range(5))), source)
    assert call("convert", source, "--once", "--from-end", *FORM).stdout.startswith("0 converted")
    send(settings, spread(map(theirs, range(5, 8))), source)
    assert call("convert", source, "--once", "--from-end", *FORM).stdout.startswith("3 converted")


def test_a_preview_prints_transactions_and_sends_nothing(
    settings: Settings, source: str, call: "Run"
) -> None:
    send(settings, spread([b"bad", *map(theirs, range(9))]), source)
    done = call("convert", source, "--preview", "4", *FORM)
    assert done.returncode == 0, done.stderr
    assert len({json.loads(line)["transaction_id"] for line in done.stdout.splitlines()}) == 4
    assert not sent(settings)
    with connect(settings.postgres) as connection:
        assert connection.execute("select 1 from shop.stream_offsets").fetchone() is None


def test_a_preview_of_which_nothing_fits_says_so_however_short_the_topic_is(
    settings: Settings, source: str, call: "Run"
) -> None:
    send(settings, [(theirs(1), 0)], source)
    done = call("convert", source, "--preview", "4")
    assert done.returncode == 1
    assert "None of the first 1 messages can be converted" in done.stderr


def test_fraudstreams_own_topics_and_missing_ones_are_refused(settings: Settings, call: "Run") -> None:
    own = call("convert", settings.kafka.transactions_topic)
    assert own.returncode == 2
    assert "in circles" in own.stderr
    missing = call("convert", "no-such-topic")
    assert missing.returncode == 1
    assert "There is no topic no-such-topic" in missing.stderr


def test_partitions_that_are_added_are_converted_from_their_beginning(
    settings: Settings, source: str, environment: dict[str, str], tmp_path: Path
) -> None:
    kafka.ensure_topic(settings.kafka, source, 1)
    with converting(environment, tmp_path, source) as process:
        send(settings, [(theirs(0), 0)], source)
        wait_until(lambda: ids(settings) == [0], "first message")
        admin = kafka.admin(settings.kafka)  # which must live until it has answered
        for added in admin.create_partitions([NewPartitions(source, 3)]).values():
            added.result()
        wait_until(lambda: partitions(settings, source) == 3, "added partition")
        send(settings, [(theirs(1), 2), (theirs(2), 0)], source)
        wait_until(lambda: ids(settings) == [0, 1, 2], "message of the added partition")
        assert process.poll() is None


def test_a_recreated_topic_ends_it_and_is_converted_from_its_first_message(
    settings: Settings, source: str, environment: dict[str, str], tmp_path: Path, call: "Run"
) -> None:
    kafka.ensure_topic(settings.kafka, source, 1)
    with converting(environment, tmp_path, source) as process:
        send(settings, [(theirs(0), 0)], source)
        wait_until(lambda: ids(settings) == [0], "first message")
        admin = kafka.admin(settings.kafka)  # which must live until it has answered
        for gone in admin.delete_topics([source]).values():
            gone.result()
        wait_until(lambda: not partitions(settings, source), "topic deleted")
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert source in said
    send(settings, [(theirs(1), 0)], source)
    assert call("convert", source, "--once", *FORM).stdout.startswith("1 converted")
    assert ids(settings) == [0, 1]


def test_postgresql_may_go_away_meanwhile(
    settings: Settings, source: str, environment: dict[str, str], tmp_path: Path
) -> None:
    with forwarded(settings.postgres.port) as way:
        own = environment | {
            "FRAUDSTREAM_POSTGRES__HOST": "127.0.0.1",
            "FRAUDSTREAM_POSTGRES__PORT": str(way.port),
        }
        kafka.ensure_topic(settings.kafka, source, 1)
        with converting(own, tmp_path, source) as process:
            send(settings, [(theirs(0), 0)], source)
            wait_until(lambda: ids(settings) == [0], "first message")
            way.cut()
            for number in range(1, 4):
                send(settings, [(theirs(number), 0)], source)
                wait_until(partial(more, settings, number), "message meanwhile")
            assert process.poll() is None


def test_a_file_with_timestamps_that_are_numbers_is_replayed(call: "Run", tmp_path: Path) -> None:
    (tmp_path / "payments.ndjson").write_bytes(message(timestamp=1_700_000_000) + b"\n")
    done = call("produce", "--from", "payments.ndjson", "--epoch", "s", "--dry-run")
    assert json.loads(done.stdout)["timestamp"] == "2023-11-14T22:13:20Z"
    refused = call("produce", "--from", "payments.ndjson", "--dry-run")
    assert refused.returncode == 1
    assert "--epoch" in refused.stderr
