"""Time and memory of the training view, the rate of the fold, and the ratio to plain pandas on a sample.

    python benchmarks/training_view.py [--count N] [--quick] [--json]

The transactions have devices and places, so that every feature is worked out. Needs no services.
"""

import resource
import time
from collections.abc import Callable
from typing import Any

import handbook
import numpy as np
import pandas as pd
import pyarrow as pa
from measure import alone, beside, options, report

from fraudstream.features import profiles, training

SAMPLE = 20_000
"""Transactions for pandas: it would need hours for all of them."""
BATCHES = (1_000, 10_000, 100_000)
LIMIT_SECONDS, LIMIT_GIB = 120.0, 6.0


def transactions(count: int) -> pa.Table:
    """Handbook-like transactions with five devices and twenty places, drawn at random."""
    customers = max(round(count / 340), 10)  # 183 days make about 350 to 360 of each customer
    frame = handbook.generate(customers, customers * 2, 183, seed=0).head(count)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    rng = np.random.default_rng(0)
    for name, choices in (("device", 5), ("location", 20), ("transaction_location", 20)):
        texts = pa.array([f"{name} {i}" for i in range(choices)])
        table = table.append_column(name, texts.take(pa.array(rng.integers(0, choices, len(table)))))
    return table


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def with_pandas(table: pa.Table) -> pd.DataFrame:
    """Six of the features the obvious way: for each row, the customer's and the merchant's earlier rows."""
    frame = table.to_pandas()
    day = table["timestamp"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy() / 8.64e10
    made: dict[str, Any] = {}
    for entity, field in (("user", "user_id"), ("merchant", "merchant_id")):
        counts, means, risks = (np.zeros(len(frame)) for _ in range(3))
        for _, group in frame.groupby(field, sort=False):
            at = group.index.to_numpy()
            for place, row in enumerate(at):
                past = at[:place]
                weight = 2.0 ** (-(day[row] - day[past]) / 30)
                counts[row] = weight.sum()
                means[row] = (weight * frame["amount"].to_numpy()[past]).sum()
                known = day[past] + 7 < day[row]
                risks[row] = (weight * known * frame["is_fraud"].to_numpy()[past]).sum()
        made |= {f"{entity}_count": counts, f"{entity}_amount": means, f"{entity}_fraud": risks}
    return pd.DataFrame(made)


def main() -> None:
    chosen = options(__doc__, count=2_000_000)
    table = transactions(chosen.count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, view = timed(lambda: training.view(table))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    lines = [
        alone(
            f"training view of {len(table):,} rows",
            seconds,
            "s",
            at_most=LIMIT_SECONDS,
            note=f"{len(view.names)} features",
        ),
        alone("its memory", peak, "GiB", at_most=LIMIT_GIB, note=f"{before:.2f} GiB before the view"),
    ]
    for size in BATCHES:
        seconds, folded = timed(lambda size=size: profiles.fold(table.slice(0, size)))  # type: ignore[misc]
        note = f"into {len(folded):,} profile rows"
        lines.append(alone(f"fold of {size:,}", size / seconds, "transactions/s", note=note))
    sample = table.slice(0, SAMPLE)
    ours, _ = timed(lambda: training.view(sample))
    naive, frame = timed(lambda: with_pandas(sample))
    against = f"pandas, {frame.shape[1]} of them"
    what = f"{len(view.names)} features of {SAMPLE:,} rows"
    lines.append(beside(what, [ours], "s", against, [naive], less_is_better=True))
    counts = training.view(sample, names=("user_count_30d", "merchant_count_30d", "merchant_fraud_30d"))
    expected = frame[["user_count", "merchant_count", "merchant_fraud"]].to_numpy()
    np.testing.assert_allclose(counts.values, expected, rtol=1e-9, atol=1e-12)
    report("training_view", lines, chosen, count=len(table))


if __name__ == "__main__":
    main()
