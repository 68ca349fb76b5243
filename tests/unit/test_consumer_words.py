"""What a running consumer says of itself."""

import logging

import pytest

from fraudstream.spark.consumer import Summary, narrate


@pytest.mark.parametrize(
    ("targets", "rows", "rejected", "level", "words"),
    [
        (("transactions", "fraud"), 900, 0, logging.INFO, "stored 900 rows of payments, 90 a second"),
        (("transactions", "fraud"), 900, 3, logging.INFO, "3 messages could not be read"),
        (("transactions", "fraud"), 0, 1_000, logging.WARNING, "1,000 messages could not be read"),
        (("fraud",), 2, 5, logging.INFO, "5 messages could not be read"),
    ],
)
def test_a_topic_in_another_format_shows_in_the_running_log(  # noqa: PLR0913, PLR0917 - a row of the table
    caplog: pytest.LogCaptureFixture,
    targets: tuple[str, ...],
    rows: int,
    rejected: int,
    level: int,
    words: str,
) -> None:
    """Its offsets go on as if all were well; one bad message among many is no alarm."""
    summary = Summary(targets, rejected=rejected)
    summary.stored[targets[0]] = rows
    with caplog.at_level(logging.INFO):
        narrate("payments", summary, 90.0)
    (record,) = caplog.records
    assert record.levelno == level
    assert words in record.message
