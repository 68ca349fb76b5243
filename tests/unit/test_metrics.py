"""What a long command tells over HTTP: figures, and whether it is well."""

import http.client
import math
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from fraudstream.errors import SettingsError
from fraudstream.metrics import (
    ConsumeMonitor,
    Figure,
    Figures,
    Health,
    Monitor,
    ProduceMonitor,
    ScoreMonitor,
    Sent,
    Standing,
    served,
)
from fraudstream.settings import MetricsSettings
from http_get import get
from waiting import wait_until

PATIENCE = 60.0


@dataclass
class Clock:
    """Seconds that a test lets pass."""

    now: float = 1000.0

    def __call__(self) -> float:
        """The time of now."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(clock: Clock) -> Monitor:
    return Monitor("consume", PATIENCE, clock)


def stands(monitor: Monitor, done: int, end: int, stream: str = "consume", rate: float = 7.0) -> None:
    monitor.stands(stream, Standing("topic", {0: done}, {0: end}, rate))


def value(monitor: Monitor, name: str, **labels: str) -> float | None:
    return monitor.registry.get_sample_value(name, labels)


def test_a_command_is_not_well_before_its_streams_run_and_after_they_ended(monitor: Monitor) -> None:
    """So that nobody sends it work: Spark takes half a minute to start."""
    assert monitor.health() == Health(ok=False, sentence="consume is starting.")
    monitor.begun("consume")
    assert monitor.health().ok
    monitor.ended("consume")
    assert monitor.health() == Health(ok=False, sentence="consume is stopping.")
    stands(monitor, 1, 2)  # a last word that comes too late
    assert monitor.health() == Health(ok=False, sentence="consume is stopping.")


def test_a_stream_that_gets_on_or_has_nothing_to_do_is_well(monitor: Monitor, clock: Clock) -> None:
    monitor.begun("consume")
    for done in range(10):
        clock.now += PATIENCE - 1
        stands(monitor, done, 1000)
    assert monitor.health() == Health(ok=True, sentence="consume is healthy; 991 messages are waiting.")
    for _ in range(10):
        clock.now += PATIENCE - 1
        stands(monitor, 1000, 1000)
    assert monitor.health() == Health(ok=True, sentence="consume is healthy; 0 messages are waiting.")


def test_a_stream_that_does_not_get_on_though_messages_wait_is_stalled(
    monitor: Monitor, clock: Clock
) -> None:
    monitor.begun("consume")
    for _ in range(14):
        stands(monitor, 10, 30)
        clock.now += 5
    assert monitor.health() == Health(
        ok=False, sentence="consume: has made no progress for 70 s; 20 messages are waiting."
    )
    monitor.remark("consume", "Here is why.")
    assert monitor.health().sentence.endswith("20 messages are waiting. Here is why."), "it matters most now"
    monitor.remark("consume", None)
    assert value(monitor, "fraudstream_healthy") == 0
    assert value(monitor, "fraudstream_progress_age_seconds", stream="consume") == 70
    assert value(monitor, "fraudstream_patience_seconds", stream="consume") == PATIENCE
    stands(monitor, 11, 30)
    assert monitor.health().ok


def test_a_driver_that_hangs_is_noticed_though_it_says_nothing(monitor: Monitor, clock: Clock) -> None:
    monitor.begun("consume")
    stands(monitor, 30, 30)
    clock.now += PATIENCE + 1
    assert "has not reported progress for 61 s" in monitor.health().sentence


def test_a_stream_that_began_and_never_got_to_its_first_batch_is_not_well(
    monitor: Monitor, clock: Clock
) -> None:
    monitor.begun("consume")
    clock.now += PATIENCE - 1
    assert monitor.health().ok
    clock.now += 2
    assert "has not reported progress for 61 s" in monitor.health().sentence


def test_what_two_streams_miss_is_said_once_until_it_answers_again(monitor: Monitor) -> None:
    for stream in ("consume", "consume scores"):
        monitor.begun(stream)
        stands(monitor, 1, 1, stream)
        monitor.lost(stream, "PostgreSQL does not answer.")
    assert monitor.health() == Health(
        ok=False, sentence="consume and consume scores: PostgreSQL does not answer."
    )
    stands(monitor, 1, 1)
    assert monitor.health().sentence == "consume scores: PostgreSQL does not answer."
    stands(monitor, 1, 1, "consume scores")
    assert monitor.health().ok


def test_a_restart_is_counted_and_is_no_health_before_the_stream_stands_again(monitor: Monitor) -> None:
    monitor.begun("consume")
    monitor.restarted("consume", "Spark stopped reading Kafka.")
    monitor.restarted("consume", "Spark stopped reading Kafka.")
    assert value(monitor, "fraudstream_restarts_total", stream="consume") == 2
    assert not monitor.health().ok
    stands(monitor, 5, 9)
    assert monitor.health().ok
    assert value(monitor, "fraudstream_lag_messages", stream="consume", topic="topic", partition="0") == 4
    assert value(monitor, "fraudstream_messages_per_second", stream="consume") == 7


def test_a_partition_that_is_gone_has_no_lag_any_more(monitor: Monitor) -> None:
    """A topic that was made anew with fewer partitions kept the last lag of the others for ever."""
    monitor.begun("consume")
    monitor.stands("consume", Standing("payments", {0: 0, 1: 0}, {0: 5, 1: 7}, 0.0))
    monitor.restarted("consume", "Topic payments was deleted and made again.")
    monitor.stands("consume", Standing("payments", {0: 0}, {0: 1}, 0.0))
    for partition, lag in (("0", 1), ("1", None)):
        labels = {"stream": "consume", "topic": "payments", "partition": partition}
        assert value(monitor, "fraudstream_lag_messages", **labels) == lag


def test_a_stream_that_cannot_get_on_has_no_pace(monitor: Monitor) -> None:
    """Its last one stood as long as the outage, and a panel showed a healthy stream."""
    monitor.begun("consume")
    monitor.stands("consume", Standing("topic", {0: 1}, {0: 9}, 5000))
    monitor.restarted("consume", "PostgreSQL does not answer.")
    assert value(monitor, "fraudstream_messages_per_second", stream="consume") == 0


def test_a_scorer_that_decides_keeps_its_pace_though_a_hand_over_met_no_broker() -> None:
    """The query before goes on; nobody says its pace again before a batch of it ends."""
    monitor = ScoreMonitor()
    monitor.begun("score")
    stands(monitor, 1000, 1000, "score", rate=1000)
    monitor.lost("score", "No Kafka broker answered.")
    monitor.answered("score", 5000, 0, 0, {})
    assert monitor.health().ok
    assert value(monitor, "fraudstream_messages_per_second", stream="score") == 1000


def test_a_scorer_that_decides_in_its_first_long_batch_is_well(clock: Clock) -> None:
    """On a slow machine it may take a minute to start and last another: a probe killed it, and it started as slowly."""
    monitor = ScoreMonitor(PATIENCE, clock)
    monitor.begun("score")
    clock.now += PATIENCE - 1
    monitor.answered("score", 5, 0, 0, {})
    clock.now += PATIENCE - 1
    assert monitor.health().ok
    clock.now += 2
    assert not monitor.health().ok


def test_a_consumer_counts_what_it_stored() -> None:
    monitor = ConsumeMonitor()
    monitor.stored({"transactions": 5}, {"transactions": 1}, 2, from_future=3, unknown_fields=4)
    monitor.stored({"transactions": 5, "fraud": 1}, {}, 0, from_future=0, unknown_fields=0)
    assert value(monitor, "fraudstream_rows_stored_total", target="transactions") == 10
    assert value(monitor, "fraudstream_rows_stored_total", target="fraud") == 1
    assert value(monitor, "fraudstream_rows_duplicate_total", target="transactions") == 1
    assert value(monitor, "fraudstream_messages_rejected_total") == 2
    assert value(monitor, "fraudstream_transactions_from_future_total") == 3
    assert value(monitor, "fraudstream_fields_unknown_total") == 4


def test_a_scorer_that_decides_by_old_profiles_is_well_and_says_so() -> None:
    monitor = ScoreMonitor()
    monitor.begun("score")
    monitor.restarted("score", "No Kafka broker answered.")
    monitor.answered("score", 10, 1, 2, {0.5: 12.0, 0.99: None})
    monitor.judges_by("score", datetime(2026, 3, 1, 10, 15, tzinfo=UTC), stale=True)
    assert monitor.health() == Health(
        ok=True,
        sentence="score is healthy; 0 messages are waiting. PostgreSQL is unavailable: decisions use the profiles of 10:15:00 UTC.",
    )
    monitor.judges_by("score", datetime(2026, 3, 1, 10, 16, tzinfo=UTC), stale=False)
    assert monitor.health().sentence == "score is healthy; 0 messages are waiting."
    assert value(monitor, "fraudstream_decisions_total") == 10
    assert value(monitor, "fraudstream_decisions_flagged_total") == 1
    assert value(monitor, "fraudstream_decisions_refused_total") == 2
    assert value(monitor, "fraudstream_decision_latency_seconds", quantile="0.5") == 0.012


def test_the_profiles_of_a_scorer_that_has_told_of_none_yet_are_of_no_time() -> None:
    """At 0 they were of 1970, which the alarm for old profiles took for an outage at every start."""
    profiles_at = value(ScoreMonitor(), "fraudstream_profiles_timestamp_seconds")
    assert profiles_at is not None
    assert math.isnan(profiles_at)


def test_a_producer_whose_messages_nobody_acknowledges_is_stalled(clock: Clock) -> None:
    sent = Sent(0, 0, 0)
    monitor = ProduceMonitor(PATIENCE, clock)
    monitor.follow("topic", lambda: sent)
    assert monitor.health().ok
    sent = Sent(taken=100, waiting=20, failed=5)
    assert monitor.health() == Health(ok=True, sentence="produce is healthy; 20 messages are waiting.")
    assert value(monitor, "fraudstream_messages_sent_total") == 75
    assert value(monitor, "fraudstream_messages_failed_total") == 5
    for _ in range(14):
        clock.now += 5
        health = monitor.health()
    assert health == Health(
        ok=False, sentence="produce: has made no progress for 70 s; 20 messages are waiting."
    )


def test_a_producer_whose_messages_are_all_refused_is_not_well_until_one_is_taken(clock: Clock) -> None:
    """Nothing waits, and nothing arrives. Two looks in one moment, as `/metrics` after `/healthz`, say the same."""
    sent = Sent(0, 0, 0)
    monitor = ProduceMonitor(PATIENCE, clock)
    monitor.follow("topic", lambda: sent)
    for number in range(1, 14):
        sent = Sent(taken=10 * number, waiting=0, failed=10 * number)
        clock.now += 5
        monitor.health()
    assert monitor.health() == Health(
        ok=False, sentence="produce: Kafka accepted none of the last 130 messages."
    )
    sent = Sent(taken=131, waiting=0, failed=130)
    assert monitor.health().ok


def test_a_look_while_a_batch_is_being_queued_counts_no_message_twice(clock: Clock) -> None:
    """For a moment its messages wait and are not yet taken."""
    sent = Sent(taken=100, waiting=0, failed=0)
    monitor = ProduceMonitor(PATIENCE, clock)
    monitor.follow("topic", lambda: sent)
    monitor.health()
    sent = Sent(taken=100, waiting=50, failed=0)
    monitor.health()
    assert value(monitor, "fraudstream_messages_per_second", stream="produce") == 0
    sent = Sent(taken=150, waiting=0, failed=0)
    monitor.health()
    assert value(monitor, "fraudstream_messages_sent_total") == 150


@contextmanager
def address(monitor: Monitor) -> Iterator[str]:
    with served(MetricsSettings(port=0), monitor.health, monitor.registry) as where:
        assert where is not None
        yield where


def test_health_is_an_http_status_and_a_sentence(monitor: Monitor) -> None:
    with address(monitor) as where:
        assert get(f"{where}/healthz") == (503, "consume is starting.\n")
        monitor.begun("consume")
        assert get(f"{where}/healthz") == (200, "consume is healthy; 0 messages are waiting.\n")
        assert get(f"{where}/") == (404, "There are /metrics and /healthz.\n")


def test_metrics_are_in_the_format_of_prometheus(monitor: Monitor) -> None:
    monitor.registry.register(
        Figures(lambda: [Figure("psi", "Drift.", 0.25), Figure("lag", "Lag.", 1, {"p": "0"})])
    )
    monitor.begun("consume")
    with address(monitor) as where:
        status, text = get(f"{where}/metrics")
    assert status == 200
    lines = text.splitlines()
    assert "# HELP fraudstream_psi Drift." in lines
    assert "fraudstream_psi 0.25" in lines
    assert 'fraudstream_lag{p="0"} 1.0' in lines
    assert "fraudstream_healthy 1.0" in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)
    assert not any("_created" in line for line in lines)


def test_nothing_is_served_where_no_port_is_set(monitor: Monitor) -> None:
    before = set(threading.enumerate())
    with served(MetricsSettings(), monitor.health, monitor.registry) as where:
        assert where is None
        assert set(threading.enumerate()) <= before


def test_a_port_that_is_taken_is_a_sentence_with_the_next_step(monitor: Monitor) -> None:
    with address(monitor) as where:
        taken = MetricsSettings(port=int(where.rsplit(":", 1)[1]))
        with (
            pytest.raises(SettingsError, match="cannot be served at") as caught,
            served(taken, monitor.health, monitor.registry),
        ):
            pass
    assert "--metrics-port" in caught.value.hint


@pytest.mark.parametrize(("host", "asked"), [("::1", "[::1]"), ("::", "127.0.0.1")])
def test_metrics_are_served_over_ipv6_too(host: str, asked: str, monitor: Monitor) -> None:
    """At `::` for everybody, as the network of a cluster may have nothing else."""
    with served(MetricsSettings(host=host, port=0), monitor.health, monitor.registry) as where:
        assert where is not None
        assert where.startswith(f"http://[{host}]:")
        assert get(where.replace(f"[{host}]", asked) + "/healthz") == (503, "consume is starting.\n")


def test_an_address_of_another_machine_is_a_sentence_with_the_setting(monitor: Monitor) -> None:
    settings = MetricsSettings(host="2001:db8::1", port=9)
    with (
        pytest.raises(SettingsError, match=r"cannot be served at \[2001:db8::1\]:9") as caught,
        served(settings, monitor.health, monitor.registry),
    ):
        pass
    assert "FRAUDSTREAM_METRICS__HOST" in caught.value.hint


def reset(where: str, said: bytes) -> None:
    """Say something and drop the connection, as probes of load balancers do."""
    host, _, port = where.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        probe.sendall(said)


PAGE = "Exception occurred during processing of request"
"""How the standard library's server begins its traceback on stderr."""


def test_a_probe_that_resets_its_connection_leaves_no_traceback(
    monitor: Monitor, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A line for who looks for it, none for everybody else, and the next one is answered."""
    caplog.set_level("DEBUG", "fraudstream.metrics")
    with address(monitor) as where:
        for said in (b"", b"GET /healthz HTTP/1.1\r\n", b"GET /metrics HTTP/1.1\r\n\r\n"):
            reset(where, said)
        assert get(f"{where}/healthz")[0] == 503
        wait_until(lambda: "dropped its connection" in caplog.text, "word of the probe")
    assert {record.levelname for record in caplog.records if "dropped" in record.message} == {"DEBUG"}
    assert PAGE not in capfd.readouterr().err


def test_an_answer_that_fails_is_one_line_of_the_log(
    monitor: Monitor, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def health() -> Health:
        raise RuntimeError("no health today")

    with served(MetricsSettings(port=0), health, monitor.registry) as where:
        assert where is not None
        with pytest.raises((OSError, http.client.HTTPException)):
            get(f"{where}/healthz")
        wait_until(lambda: bool(caplog.records), "word of the failure")
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "a request of 127.0.0.1 failed: RuntimeError: no health today"
    ]
    assert PAGE not in capfd.readouterr().err
