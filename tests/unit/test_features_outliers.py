"""One huge amount, typed or sent on purpose, must not change what is usual for everybody else."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraudstream.features import joined
from fraudstream.features.definitions import profile_columns
from fraudstream.features.events import INSTANT, Events
from fraudstream.features.profiles import fold
from fraudstream.features.training import view

START = datetime(2026, 1, 1, tzinfo=UTC)
OWN = ("amount_to_user_mean", "user_amount_z", "amount_to_merchant_mean", "amount_to_overall_mean")


def payments(rows: list[tuple[float, str, float, str]]) -> pa.Table:
    """Of each (hour, customer, amount, merchant)."""
    hours, users, amounts, merchants = zip(*rows, strict=True)
    return pa.table({
        "transaction_id": [f"t{n}" for n in range(len(rows))],
        "user_id": list(users),
        "timestamp": pa.array([START + timedelta(hours=hour) for hour in hours], INSTANT),
        "amount": list(amounts),
        "merchant_id": list(merchants),
    })  # fmt: skip


def test_a_strangers_huge_amount_leaves_a_fraud_as_conspicuous_as_it_was() -> None:
    """40 times a customer's usual amount became 0.4 % of it, and stayed below it for a year."""
    rng = np.random.default_rng(0)
    usual = [
        (n / 40, f"u{n % 400}", float(amount), f"m{n % 50}")
        for n, amount in enumerate(rng.gamma(4, 20, 20_000))
    ]
    fraud = (501.0, "u7", 3_204.0, "m7")
    before = view(payments([*usual, fraud]), 7, OWN).values[-1]
    after = view(payments([*usual, (500.5, "stranger", 1e12, "elsewhere"), fraud]), 7, OWN).values[-1]
    assert before[0] > 20
    assert np.all(after > before / 2), dict(zip(OWN, zip(before, after, strict=True), strict=True))


def test_a_huge_amount_that_was_stored_first_is_taken_out_of_the_mean_again() -> None:
    """What was added is subtracted, which is less than the amount."""
    small = [(n / 10, "u", 10.0, "m") for n in range(200)]
    table = payments([*small, (21.0, "u", 3e6, "m")])
    one = Events(table.slice(200))
    names = ("amount_to_overall_mean",)
    reads = profile_columns(names)

    def stored(held: pa.Table) -> dict[str, pa.Table]:
        rows = fold(held)
        return {
            entity: rows.filter(pc.equal(rows["entity"], entity)).select(["key", *columns])
            for entity, columns in reads.items()
        }

    apart = joined.features(one, stored(table.slice(0, 200)), names)
    within = joined.features(one, stored(table), names, np.array([True]))
    np.testing.assert_allclose(apart, [[3e5]])
    np.testing.assert_allclose(within, apart, rtol=1e-6)
