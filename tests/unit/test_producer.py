"""`produce` without a broker: pace, counts, limits, dry runs, and what goes wrong at once."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from environment import without_settings
from fraudstream.decode import Decoder
from fraudstream.errors import InputError
from fraudstream.micros import SECOND
from fraudstream.producer.delivery import Batch, deliver, limited
from fraudstream.producer.pace import CATCH_UP, FASTEST, FORGIVEN, Pace
from fraudstream.producer.simulated import Plan, simulated
from fraudstream.simulate import World
from fraudstream.simulate.stream import BLOCK
from waiting import HANG_SECONDS

NOBODY = "127.0.0.1:1"
"""Nothing listens on port 1."""


class Clock:
    """A clock that only `wait` moves, by what was asked and a little more, as real ones do."""

    def __init__(self, late: float = 0.0001) -> None:
        self.now, self._late = 1_000.0, late

    def __call__(self) -> float:
        """Seconds."""
        return self.now

    def wait(self, seconds: float) -> None:
        """Sleep."""
        assert seconds >= 0
        self.now += seconds + self._late


def sending(rate: float, count: int, *, stalls: dict[int, float] | None = None) -> tuple[list[float], Pace]:
    """When each of `count` messages was sent, in seconds; a stall of so many seconds after a message."""
    clock = Clock()
    pace = Pace(rate, threading.Event(), clock, clock.wait)
    times: list[float] = []
    for begin, end in pace.portions(count):
        times += [clock.now - 1_000.0] * (end - begin)
        clock.now += (stalls or {}).pop(begin, 0.0)
    return times, pace


def test_nothing_is_waited_for_after_the_last_message() -> None:
    """At one message in a hundred seconds the command sat there for as long before it said that all were sent."""
    clock = Clock()
    pace = Pace(0.01, threading.Event(), clock, clock.wait)
    assert list(pace.portions(2)) == [(0, 1), (1, 2)]
    assert clock.now - 1_000.0 == pytest.approx(100.0, abs=0.1)
    assert list(pace.portions(1)) == [(0, 1)]
    assert clock.now - 1_000.0 == pytest.approx(200.0, abs=0.1)


@settings(max_examples=60)
@given(st.floats(0.5, 50_000))
def test_a_rate_is_held_within_one_percent_and_without_bursts(rate: float) -> None:
    """Every message leaves when it is due, or within the few milliseconds between two wake-ups."""
    count = int(min(max(rate * 4, 50), 20_000))
    times, _ = sending(rate, count)
    assert len(times) == count
    for number, at in enumerate(times):
        assert -1e-6 <= at - number / rate <= 0.006
    assert (count - 1) / times[-1] == pytest.approx(rate, rel=0.01, abs=0.01)


def test_a_stall_is_made_up_for_gently() -> None:
    """After two seconds of silence no second holds more than a quarter above the rate, and all is made up."""
    times, _ = sending(100, 3_000, stalls={500: 2.0})
    after = [at for at in times if at > 7.1]
    for begin in range(7, 30):
        assert sum(begin <= at < begin + 1 for at in times) <= 100 * CATCH_UP + 2
    assert after[-1] == pytest.approx(2_999 / 100, abs=0.01)


def test_a_night_asleep_is_not_sent_in_the_morning() -> None:
    """Arrears beyond ten seconds are forgiven, and the plan of later events moves with them."""
    times, pace = sending(100, 8_000, stalls={500: 8 * 3600.0})
    assert pace.forgiven == pytest.approx(8 * 3600 - FORGIVEN, abs=0.1)
    assert times[-1] == pytest.approx(7_999 / 100 + pace.forgiven, abs=0.1)


def dated(
    rate: float, count: int, *, stalls: dict[int, float], by_clock: bool = True
) -> tuple[list[float], list[bytes]]:
    """By how many seconds each simulated payment is dated before it is sent, and the payments.

    The first payment that is sent after so many others stalls for so many seconds.
    """
    clock, stop, stalls = Clock(), threading.Event(), dict(stalls)
    pace = None if rate == FASTEST else Pace(rate, stop, clock, clock.wait)
    plan = Plan(start=round(clock.now * SECOND), fraud_rate=0.005, rate=rate, by_clock=by_clock)
    late: list[float] = []

    class Late(Memory):
        def send(self, keys: list[bytes], values: list[bytes]) -> None:
            for value in values:
                at = datetime.fromisoformat(json.loads(value)["timestamp"]).timestamp()
                late.append(clock.now - at)
            super().send(keys, values)
            for after in [after for after in stalls if len(self.values) > after]:
                clock.now += stalls.pop(after)

    sink = Late()
    batches = simulated(World(users=50), plan, lambda: pace.forgiven if pace else 0.0, clock)
    deliver(limited(batches, count), sink, stop, pace)
    return late, sink.values


@pytest.mark.parametrize(("rate", "overdue"), [(0.1, 1), (5, 1), (100, 10)])
def test_after_a_night_asleep_payments_are_dated_by_the_clock_again(rate: float, overdue: int) -> None:
    """Those of the night do not exist: only what was due in that moment, a tenth of a second's, has its time of before."""
    late, values = dated(rate, 400, stalls={150: 8 * 3600.0})
    assert len({json.loads(value)["transaction_id"] for value in values}) == 400
    assert sum(seconds > 3600 for seconds in late) <= overdue
    assert all(-0.01 <= seconds <= FORGIVEN + 0.2 for seconds in late if seconds <= 3600)


def test_at_full_speed_a_night_asleep_is_not_spread_with_payments() -> None:
    """The block after it would lie in it."""
    late, _ = dated(FASTEST, 3 * BLOCK, stalls={BLOCK - 1: 8 * 3600.0})
    assert max(late) <= FORGIVEN


@pytest.mark.parametrize(("rate", "count"), [(100, 400), (FASTEST, 2 * BLOCK)])
def test_a_given_start_prints_the_same_payments_whatever_delays_them(rate: float, count: int) -> None:
    """Their times follow from the start, not from the machine. At full speed they were others under the same ids."""
    _, undelayed = dated(rate, count, stalls={}, by_clock=False)
    _, delayed = dated(rate, count, stalls={150: 8 * 3600.0}, by_clock=False)
    assert delayed == undelayed


def test_a_sleeping_laptop_counts_as_a_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """`time.monotonic` stops meanwhile, so that the night was not missed, and every payment after it dated back by it."""
    real = time.clock_gettime
    nights: list[float] = []
    monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + sum(nights))
    pace = Pace(1_000, threading.Event())
    for _ in pace.portions(10):
        pass
    nights.append(8 * 3600.0)
    for _ in pace.portions(1):
        pass
    assert pace.forgiven == pytest.approx(8 * 3600 - FORGIVEN, abs=60)


def test_a_real_clock_holds_the_default_rate() -> None:
    """100 a second by the system's own timer."""
    begun = time.monotonic()
    pace = Pace(100, threading.Event())
    times = [time.monotonic() - begun for begin, end in pace.portions(150) for _ in range(begin, end)]
    assert len(times) == 150
    assert 1.485 <= times[-1] < 60, "never early; how late is the machine's affair"


class Memory:
    """A sink that remembers."""

    def __init__(self, stop: threading.Event | None = None, after: int = 0) -> None:
        self.values: list[bytes] = []
        self._stop, self._after = stop, after

    def send(self, keys: list[bytes], values: list[bytes]) -> None:
        """Remember, and stop after so many."""
        assert len(keys) == len(values)
        self.values += values
        if self._stop and len(self.values) >= self._after:
            self._stop.set()

    def close(self) -> tuple[int, int]:
        """All of them arrived."""
        return len(self.values), 0


def numbers(sizes: list[int]) -> Iterator[Batch]:
    number = 0
    for size in sizes:
        values = [b"%d" % n for n in range(number, number + size)]
        yield Batch(values, values)
        number += size


@given(st.lists(st.integers(0, 9), max_size=9), st.none() | st.integers(0, 60))
def test_count_is_exact_however_the_batches_fall(sizes: list[int], count: int | None) -> None:
    sink = Memory()
    report = deliver(limited(numbers(sizes), count), sink, threading.Event())
    wanted = sum(sizes) if count is None else min(count, sum(sizes))
    assert sink.values == [b"%d" % n for n in range(wanted)]
    assert (report.sent, report.interrupted) == (wanted, False)


def test_a_stop_ends_a_run_after_what_was_taken() -> None:
    stop = threading.Event()
    sink = Memory(stop, after=7)
    report = deliver(numbers([5, 5, 5]), sink, stop)
    assert report.sent == 10
    assert report.interrupted


def test_a_source_that_breaks_half_way_leaves_a_report_of_what_was_taken() -> None:
    def broken() -> Iterator[Batch]:
        yield from numbers([5])
        raise InputError("It is torn.")

    report = deliver(broken(), Memory(), threading.Event())
    assert (report.sent, report.failed, report.interrupted) == (5, 0, False)
    assert str(report.broken) == "It is torn."


def fraudstream(*arguments: str, **options: object) -> "subprocess.CompletedProcess[bytes]":
    """The real program, with no setting of the one who runs the tests."""
    given = {"env": without_settings() | {"FRAUDSTREAM_HOME": "/nonexistent"}, "timeout": 60} | options
    command = [sys.executable, "-m", "fraudstream", *arguments]
    return subprocess.run(command, capture_output=True, check=False, **given)  # type: ignore[call-overload,no-any-return]


def test_the_same_seed_prints_the_same_bytes(tmp_path: Path) -> None:
    one, same, other = (
        fraudstream("produce", "--dry-run", "--count", "3000", "--seed", seed, cwd=tmp_path)
        for seed in ("42", "42", "43")
    )
    assert (one.returncode, one.stderr) == (0, b"")
    assert one.stdout == same.stdout
    assert one.stdout != other.stdout
    lines = one.stdout.splitlines()
    assert len(lines) == 3_000
    assert Decoder().decode(lines).rejects == []
    assert json.loads(lines[0])["timestamp"].startswith("2025-01-01T00:")


def test_a_longer_dry_run_begins_with_the_shorter_one(tmp_path: Path) -> None:
    """The stream does not depend on how much of it is asked for."""
    short, long = (
        fraudstream("produce", "--dry-run", "--count", count, cwd=tmp_path).stdout
        for count in ("100", "20000")
    )
    assert long.startswith(short)


def test_head_ends_a_dry_run_quietly(tmp_path: Path) -> None:
    """An endless dry run whose reader goes away says nothing and succeeds."""
    command = f"{sys.executable} -m fraudstream produce --dry-run | head -n 2; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert result.stdout.splitlines()[2] == "0"
    assert result.stderr == ""


def test_a_dry_run_with_a_rate_takes_its_time(tmp_path: Path) -> None:
    """Messages are printed when they are due, and are the same ones each time."""
    arguments = ("produce", "--dry-run", "--rate", "50", "--count", "60")
    begun = time.monotonic()
    one = fraudstream(*arguments, cwd=tmp_path)
    assert time.monotonic() - begun > 59 / 50
    assert one.stdout == fraudstream(*arguments, cwd=tmp_path).stdout
    times = [json.loads(line)["timestamp"] for line in one.stdout.splitlines()]
    assert times[:2] == ["2025-01-01T00:00:00.000000Z", "2025-01-01T00:00:00.020000Z"]


def test_start_moves_the_stream(tmp_path: Path) -> None:
    result = fraudstream(
        "produce", "--dry-run", "--count", "1", "--start", "2024-02-29T12:00:00+02:00", cwd=tmp_path
    )
    assert json.loads(result.stdout)["timestamp"].startswith("2024-02-29T10:")


def test_history_only_ends_where_the_history_does(tmp_path: Path) -> None:
    result = fraudstream(
        "produce", "--dry-run", "--days", "1", "--history-only", "--users", "50", cwd=tmp_path
    )
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert 30 < len(lines) < 200
    assert all(line["timestamp"].startswith("2025-01-01T") for line in lines)


def test_an_interrupted_dry_run_says_so_in_its_exit_code(tmp_path: Path) -> None:
    """Ctrl-C before --count was reached is an interruption; of an endless run it is the end."""
    for arguments, code in ((("--count", "1000000"), 130), ((), 0)):
        process = subprocess.Popen(
            [sys.executable, "-m", "fraudstream", "produce", "--dry-run", "--rate", "20", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, narration = process.communicate(timeout=HANG_SECONDS)
        assert (process.returncode, narration) == (code, b"")


def test_the_scenarios_are_explained() -> None:
    result = fraudstream("produce", "--scenario", "list", "--json")
    scenarios = json.loads(result.stdout)["scenarios"]
    assert len(scenarios) == 9
    assert all(scenario["sentence"].endswith(".") for scenario in scenarios)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--rate", "fast"), 2, "number of messages"),
        (("--rate", "0"), 2, "number of messages"),
        (("--rate", "nan"), 2, "number of messages"),
        (("--start", "yesterday"), 2, "ISO 8601"),
        (("--start", "1066-10-14"), 2, "between 1970"),
        (("--start", "1969-12-31T23:59:59.5Z"), 2, "between 1970"),
        (("--scenario", "teleport"), 2, "no scenario"),
        (("--fraud-rate", "0.7"), 2, "fraud-rate"),
        (("--history-only",), 2, "--days"),
        (("--json",), 2, "standard output"),
        (("--map", "a=amount"), 2, "is for --from"),
        (("--from", "x.csv", "--scenario", "slow_burn"), 2, "does not go with"),
        (("--from", "nowhere.csv"), 1, "cannot be read"),
        (("--from", "x.xlsx"), 1, "Check the path"),
    ],
)
def test_wrong_use_is_one_sentence(arguments: tuple[str, ...], code: int, words: str, tmp_path: Path) -> None:
    result = fraudstream("produce", "--dry-run", "--count", "5", *arguments, cwd=tmp_path)
    assert result.returncode == code
    assert words in (result.stderr + result.stdout).decode()
    assert b"Traceback" not in result.stderr


def test_a_broker_that_is_away_is_waited_for_as_long_as_is_set(tmp_path: Path) -> None:
    result = fraudstream(
        "produce", "--count", "5", "--bootstrap-servers", NOBODY, "--json",
        cwd=tmp_path, env=without_settings() | {"FRAUDSTREAM_KAFKA__TIMEOUT_SECONDS": "1"},
    )  # fmt: skip
    assert result.returncode == 1
    error = json.loads(result.stdout)["error"]
    assert error["code"] == "broker_unreachable"
    assert error["message"].startswith(f"No Kafka broker answered at {NOBODY} within 1 s")
