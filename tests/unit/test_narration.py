"""What a consumer says in its log of what it could not read."""

import logging

import pytest

from fraudstream.metrics import ConsumeMonitor
from fraudstream.spark.consumer import Summary
from fraudstream.spark.narration import Narration

WHY = "user_id: Field required"
STEPS = [
    (1_000, 0, 1_000, logging.WARNING, "stored 0 rows of payments, 0 a second; 1,000 of the last 1,000"),
    (1_000, 990, 10, logging.INFO, "stored 990 rows of payments, 198 a second; 10 of the last 1,000"),
    (1_000, 1_000, 0, logging.INFO, "stored 1,990 rows of payments, 200 a second"),
    (9, 0, 9, logging.INFO, "stored 1,990 rows of payments, 0 a second; 9 of the last 9"),
]
"""Messages read, rows stored, messages rejected; and what is said of that, how loudly."""


def test_a_line_says_what_could_not_be_read_since_the_last_one_and_warns_while_that_is_most(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A topic in another format was silent for as long as it was read."""
    summary, monitor, read = Summary(targets=("transactions",), rejected=5, reason=WHY), ConsumeMonitor(), 100
    monitor.begun(summary.stream)
    narration = Narration(monitor, "payments", read, summary)
    assert not narration.owes(summary, read), "what an earlier query said"
    with caplog.at_level("INFO"):
        for messages, stored, rejected, level, begins in STEPS:
            read += messages
            summary.stored["transactions"] += stored
            summary.rejected += rejected
            assert narration.owes(summary, read) is (rejected > 0)
            narration.tell(summary, read, stored / 5)
            _, said, line = caplog.record_tuples[-1]
            assert (said, line[: len(begins)]) == (level, begins)
            assert line.endswith(
                f" could not be read, {summary.rejected:,} in all; the latest: {WHY}"
            ) is bool(rejected)
            health = monitor.health()
            assert health.ok, "no new start would cure it"
            assert (f"1,000 messages of payments could not be read: {WHY}." in health.sentence) is (
                level == logging.WARNING
            )


def test_messages_that_can_be_read_again_end_the_warning_though_nothing_is_stored() -> None:
    """As with `consume fraud`, or where a producer sends known ids again."""
    summary, monitor = Summary(targets=("fraud",), reason=WHY), ConsumeMonitor()
    monitor.begun(summary.stream)
    narration = Narration(monitor, "payments", 0, summary)
    summary.rejected += 1_000
    narration.tell(summary, 1_000, 0.0)
    assert "could not be read" in monitor.health().sentence
    assert not narration.owes(summary, 1_000)
    assert narration.owes(summary, 2_000)
    narration.tell(summary, 2_000, 0.0)
    assert "could not be read" not in monitor.health().sentence
    assert not narration.owes(summary, 3_000)


def test_payments_of_the_future_that_no_profile_counts_are_told_while_they_come(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A database whose clock is days behind left every payment out, and only the last line of `consume` said so."""
    summary, monitor = Summary(targets=("transactions", "profiles"), from_future=7), ConsumeMonitor()
    monitor.begun(summary.stream)
    narration = Narration(monitor, "payments", 0, summary)
    assert not narration.owes(summary, 0), "what an earlier query said"
    with caplog.at_level("INFO"):
        summary.from_future += 1_000
        summary.stored["transactions"] += 1_000
        assert narration.owes(summary, 1_000)
        narration.tell(summary, 1_000, 200.0)
        _, level, line = caplog.record_tuples[-1]
        assert level == logging.WARNING
        assert line == (
            "stored 1,000 rows of payments, 200 a second; 1,000 of the last 1,000 messages of payments are dated more than"
            " a day ahead of PostgreSQL's clock, 1,007 in all: no profile has them"
        )
        assert "ahead of PostgreSQL's clock: no profile has them." in monitor.health().sentence
        summary.from_future += 1
        narration.tell(summary, 2_000, 200.0)
        _, level, line = caplog.record_tuples[-1]
        assert (level, "1 of the last 1,000 messages of payments are dated" in line) == (logging.INFO, True)
        assert "PostgreSQL's clock" not in monitor.health().sentence
