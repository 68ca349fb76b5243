"""The Overview compares like with like, and says which of its points are not complete."""

from datetime import UTC, datetime, timedelta

import pytest

from fraudstream.dashboard import overview
from fraudstream.store.overview import Bucket, Compared, Overview, Stakes, Step


def found(until: datetime, days: int, *buckets: Bucket) -> Overview:
    """The overview of a stream that stands in the hour before `until`."""
    since, complete = until - timedelta(days=days), until - timedelta(hours=1)
    return Overview(since, until, complete, {}, None, [*buckets], Stakes(0, 0.0, 0, 0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("compared", "said"),
    [
        (Compared(960, 960), "same as the period before"),
        (Compared(480, 960), "-50 % on the period before"),
        (Compared(960, 0), "none in the period before"),
        (None, "no complete period before"),
    ],
)
def test_transactions_are_compared_with_a_complete_period_or_not_at_all(
    compared: Compared | None, said: str
) -> None:
    """A stream of ten days was said to have grown by hundreds of percent in the last seven of them."""
    assert overview._change(compared) == said


@pytest.mark.parametrize(
    ("step", "first", "last"),
    [("day", "2026-11-27 00:00", "2026-11-29 00:00, so far"),
     ("hour", "2026-11-27 17:00", "2026-11-29 16:00, so far")],
)  # fmt: skip
def test_the_point_at_which_the_stream_stands_is_marked_as_not_complete(
    step: Step, first: str, last: str
) -> None:
    data = overview._filled(found(datetime(2026, 11, 29, 17, tzinfo=UTC), 2), step)
    shown = [*data[data["kind"] == "alerts"]["when"]]
    assert (shown[0], shown[-1]) == (first, last)
    assert sum(name.endswith("so far") for name in shown) == 1


def test_a_day_that_has_ended_is_complete() -> None:
    """As after a file whose last payment came in the last hour of a day, and one in the first hour of the next."""
    caught = Bucket("alerts", datetime(2026, 11, 28, tzinfo=UTC), 3, 9.0)
    stood = found(datetime(2026, 11, 29, 1, tzinfo=UTC), 1, caught)
    alerts = overview._filled(stood, "day").query("kind == 'alerts'")
    assert [*alerts["when"]] == ["2026-11-28 00:00", "2026-11-29 00:00, so far"]
    assert [*alerts["count"]] == [3, 0]
