"""What `health` reads of a system that is well, and of one in which nothing has happened yet."""

from datetime import UTC, datetime

from fraudstream.store.drift import Drift
from fraudstream.store.health import AlertRate, Champion, Latency, Reviews, Snapshot
from fraudstream.store.pipeline import Progress

DAY = datetime(2026, 3, 1, tzinfo=UTC)
NOTHING = Snapshot(
    None,
    Reviews(0, 0, legitimate_known=False, alerts=0, waiting=0, label_delay_seconds=None),
    AlertRate(None, 0),
    None,
    Latency(0, None, None, None),
    [],
    0,
)
WELL = Snapshot(
    Champion("m1", "isolation_forest", 0.71, 0.005),
    Reviews(30, 70, legitimate_known=True, alerts=500, waiting=400, label_delay_seconds=7200.0),
    AlertRate(100_000, 520),
    Drift(DAY, 100_000, 0.02, 0.0004),
    Latency(30_000, 9.0, 20.0, 45.0),
    [
        Progress("consume", "transactions", p, 100, 100 + p, 50.0, DAY, age, 1.0, 90.0)
        for p, age in ((0, 4.0), (1, 3.0))
    ],
    0,
)
