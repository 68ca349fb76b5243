"""Transactions of the kind that the Fraud Detection Handbook describes: no device, no place, no names.

Written from the published description of its simulator (Le Borgne, Siblini, Lebichot and Bontempi, "Reproducible
Machine Learning for Credit Card Fraud Detection", chapter 3, "Simulated dataset"), so that features and models
are judged on data that fraudstream's own simulator did not make.

- Customers and terminals lie uniformly on a square of 100 by 100; a customer pays at terminals within 5 units.
- Customer: mean amount uniform in 5 to 100, deviation half the mean, 0 to 4 transactions a day (Poisson);
  time of day normal around noon (deviation 20,000 s), what falls outside the day is dropped.
- Fraud 1: every amount above 220.
- Fraud 2: each day two terminals of 10,000 are compromised; everything there is fraud for 28 days.
- Fraud 3: each day three customers of 5,000 leak their card; for 14 days a third of their payments is
  multiplied by five and is fraud.

The published set has 5,000 customers, 10,000 terminals, 183 days: 1.75 million transactions, 0.84 % fraud.

Usage: handbook.py OUT.parquet [CUSTOMERS TERMINALS DAYS SEED]
"""

import sys
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

START = "2018-04-01"
SIDE = 100.0
RADIUS = 5.0
DAY = 86_400
LARGE = 220.0
TERMINALS_PER_DAY, TERMINAL_DAYS = 2 / 10_000, 28
CUSTOMERS_PER_DAY, CUSTOMER_DAYS, RAISED_SHARE, RAISED_BY = 3 / 5_000, 14, 1 / 3, 5.0


def generate(
    n_customers: int = 5_000, n_terminals: int = 10_000, days: int = 183, seed: int = 0
) -> pd.DataFrame:
    """Transactions in order of time: transaction_id, timestamp (UTC), user_id, merchant_id, amount, is_fraud, fraud_scenario.

    `fraud_scenario` is 0 for none, else 1 to 3. Victims per day keep the published share of all
    customers and terminals, so that smaller worlds have the same share of fraud.
    """
    rng = np.random.default_rng(seed)
    customer, terminal, seconds, amount = _payments(rng, n_customers, n_terminals, days)
    day = seconds // DAY
    scenario = np.where(amount > LARGE, 1, 0)

    hit = _victims(rng, n_terminals, days, TERMINALS_PER_DAY, TERMINAL_DAYS)[terminal, day]
    scenario[hit] = 2
    leaked = _victims(rng, n_customers, days, CUSTOMERS_PER_DAY, CUSTOMER_DAYS)[customer, day]
    raised = leaked & (rng.random(len(amount)) < RAISED_SHARE)
    scenario[raised] = 3
    amount[raised] *= RAISED_BY
    return pd.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(len(amount))],
            "timestamp": pd.Timestamp(START, tz="UTC") + pd.to_timedelta(seconds, unit="s"),
            "user_id": _names("c", customer, n_customers),
            "merchant_id": _names("m", terminal, n_terminals),
            "amount": amount.round(2),
            "is_fraud": scenario > 0,
            "fraud_scenario": scenario,
        }
    )


def _names(prefix: str, code: NDArray[np.int64], count: int) -> Any:
    return np.array([f"{prefix}{i}" for i in range(count)], dtype=object)[code]


def _payments(
    rng: np.random.Generator, n_customers: int, n_terminals: int, days: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Customer, terminal, second since the start and amount of every honest payment, in order of time."""
    places = rng.uniform(0, SIDE, (n_customers, 2))
    near = cKDTree(rng.uniform(0, SIDE, (n_terminals, 2))).query_ball_point(places, RADIUS)
    reach = np.array([len(n) for n in near])
    start, flat = np.concatenate([[0], np.cumsum(reach)[:-1]]), np.concatenate([*near, []]).astype(np.int64)
    mean = rng.uniform(5, 100, n_customers)
    per_day = rng.poisson(rng.uniform(0, 4, n_customers)[:, None], (n_customers, days))
    per_day[reach == 0] = 0
    customer = np.repeat(np.arange(n_customers), per_day.sum(axis=1))
    day = np.repeat(np.tile(np.arange(days), n_customers), per_day.ravel())
    clock = rng.normal(DAY / 2, 20_000, len(day)).astype(np.int64)
    terminal = flat[start[customer] + (rng.random(len(day)) * reach[customer]).astype(np.int64)]
    spent = rng.normal(mean[customer], mean[customer] / 2)
    spent = np.where(spent < 0, rng.uniform(0, 2 * mean[customer]), spent)
    # A cent at least: the published data has a few zeros, which are no payments.
    spent = np.maximum(spent.round(2), 0.01)
    kept = np.flatnonzero((clock > 0) & (clock < DAY))
    kept = kept[np.argsort(day[kept] * DAY + clock[kept], kind="stable")]
    return customer[kept], terminal[kept], (day * DAY + clock)[kept], spent[kept]


def _victims(
    rng: np.random.Generator, count: int, days: int, per_day: float, lasting: int
) -> NDArray[np.bool_]:
    """Who is a victim on which day, shape (count, days)."""
    hit = np.zeros((count, days), dtype=bool)
    for day in range(days):
        # Poisson around the mean would add noise; carrying the remainder over keeps the published rate exactly.
        fresh = int(count * per_day * (day + 1)) - int(count * per_day * day)
        hit[rng.choice(count, fresh, replace=False), day : day + lasting] = True
    return hit


if __name__ == "__main__":
    frame = generate(*map(int, sys.argv[2:]))
    frame.to_parquet(sys.argv[1], index=False)
    print(f"{len(frame):,} transactions, {frame.is_fraud.mean():.2%} fraud")
