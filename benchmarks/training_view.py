"""Time and memory of the training view, the rate of the fold, and the ratio to plain pandas on a sample.

Usage: training_view.py [TRANSACTIONS]     (default 2,000,000; has devices and places, so that every feature is worked out)
"""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import handbook
import numpy as np
import pandas as pd
import pyarrow as pa

from fraudstream.features import profiles, training

SAMPLE = 20_000
"""Transactions for pandas: it would need hours for all of them."""
BATCHES = (1_000, 10_000, 100_000)


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


def main(count: int) -> None:
    """Print every figure."""
    table = transactions(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, view = timed(lambda: training.view(table))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"training view: {len(table):,} transactions, {len(view.names)} features in {seconds:.1f} s")
    print(f"memory: peak {peak:.2f} GiB of the process, {before:.2f} GiB before the view")
    for size in BATCHES:
        seconds, folded = timed(lambda size=size: profiles.fold(table.slice(0, size)))  # type: ignore[misc]
        print(f"fold of {size:,}: {size / seconds:,.0f} transactions/s into {len(folded):,} profile rows")
    sample = table.slice(0, SAMPLE)
    ours, _ = timed(lambda: training.view(sample))
    naive, frame = timed(lambda: with_pandas(sample))
    print(
        f"sample of {SAMPLE:,}: {len(view.names)} features in {ours:.2f} s, "
        f"{frame.shape[1]} with pandas in {naive:.2f} s: {naive / ours:.0f} times as long"
    )
    counts = training.view(sample, names=("user_count_30d", "merchant_count_30d", "merchant_fraud_30d"))
    expected = frame[["user_count", "merchant_count", "merchant_fraud"]].to_numpy()
    np.testing.assert_allclose(counts.values, expected, rtol=1e-9, atol=1e-12)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000)
