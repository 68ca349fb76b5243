"""Transactions with their features and their truth, in order of time: the input of training and evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fraudstream.arrays import Floats, Integers, Truths
from fraudstream.errors import InputError
from fraudstream.features import training
from fraudstream.features.catalogue import horizon
from fraudstream.features.events import INSTANT
from fraudstream.micros import DAY
from fraudstream.model.folds import busy_days

SOME = 5
"""Currencies that are named where there are many."""


@dataclass(frozen=True)
class Dataset:
    """Rows in order of time; every array has one entry per row."""

    micros: Integers
    amount: Floats
    customer: Integers
    """Codes 0, 1, … of user_id."""
    fraud: Truths
    judged: Truths
    """Whether the row's truth is known; `fraud` is False if it is not."""
    known_at: Integers
    """When it became known, from `training.known_at`."""
    scenario: NDArray[np.object_]
    """Kind of fraud if the file has it, else None. For reports only."""
    names: tuple[str, ...]
    values: Floats
    """Features (rows, names)."""
    delay_days: float

    def __len__(self) -> int:
        return len(self.micros)

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last transaction."""
        return int(self.micros[0]), int(self.micros[-1])

    @cached_property
    def busy(self) -> Truths:
        """Whether a row's day is one of those that windows are made of."""
        found: Truths = np.isin(self.micros // DAY * DAY, busy_days(self.micros))
        return found

    def window(self, since: int, until: int) -> Integers:
        """The rows of a window: those of its busy days, as stragglers between them would make days of their own."""
        return np.flatnonzero(self.busy & (self.micros >= since) & (self.micros < until))

    @property
    def customers(self) -> int:
        """How many."""
        return int(self.customer.max(initial=-1)) + 1

    def columns(self, names: Sequence[str], rows: Truths | Integers) -> Floats:
        """Features `names` of some rows, (rows, names)."""
        places = np.array([self.names.index(name) for name in names], dtype=np.intp)
        # One copy: the rows first, and the columns of these, would be two, and the first one of all features.
        return self.values[np.ix_(rows, places)]


def until_now(rows: pa.Table) -> tuple[pa.Table, list[str]]:
    """The rows up to the profiles' horizon, without future ones, and a note if there were any."""
    latest = pa.scalar(horizon(datetime.now(UTC)), INSTANT)
    come = rows.filter(pc.field("timestamp") <= latest)
    left_out = rows.num_rows - come.num_rows
    return come, [
        f"{left_out:,} of {rows.num_rows:,} transactions are dated more than a day ahead and were left out."
    ] if left_out else []


def currencies(rows: pa.Table) -> list[str]:
    """A note if amounts are in more than one currency."""
    found = pc.unique(rows["currency"]).to_pylist() if "currency" in rows.column_names else []
    names = sorted(name for name in found if name)
    if len(names) < 2:  # noqa: PLR2004 - one is what everybody has
        return []
    some = ", ".join(names[:SOME]) + (", …" if len(names) > SOME else "")
    return [
        f"Amounts are in {len(names)} currencies ({some}) and are compared as plain numbers: convert them to one first."
    ]


def dataset(rows: pa.Table, delay_days: float, names: Sequence[str] | None = None) -> Dataset:
    """The point-in-time view of transactions (columns as in `schema.arrow_schema()`, optional ones may be missing).

    `names` are the features, all available ones by default. Raises InputError if there are no rows, or if a
    feature needs a field that is missing.
    """
    if rows.num_rows == 0:
        raise InputError(
            "There are no transactions to learn from.", hint="Check the file, or `fraudstream consume`."
        )
    rows = rows.sort_by("timestamp").combine_chunks()
    customer = rows["user_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    amount = rows["amount"].to_numpy().astype(np.float64)
    view = training.view(rows, delay_days, names)
    micros = rows["timestamp"].cast(pa.int64()).to_numpy()
    labels = rows["is_fraud"] if "is_fraud" in rows.column_names else pa.nulls(rows.num_rows, pa.bool_())
    judged = labels.is_valid().to_numpy(zero_copy_only=False)
    fraud = labels.fill_null(False).to_numpy(zero_copy_only=False).astype(bool)
    return Dataset(
        micros=micros,
        amount=amount,
        customer=customer,
        fraud=fraud & judged,
        judged=judged,
        known_at=training.known_at(rows, micros, delay_days),
        scenario=_scenario(rows, fraud),
        names=view.names,
        values=view.values,
        delay_days=delay_days,
    )


def check_variety(data: Dataset) -> None:
    """Raise InputError if there is only one customer or one amount: enough to evaluate a model, not to train one."""
    if data.customers == 1:
        raise InputError(
            f"All {len(data)} transactions are of one customer, whose habits cannot be told apart from fraud.",
            hint="Check which column is mapped to user_id.",
        )
    if (data.amount == data.amount[0]).all():
        raise InputError(
            f"Every amount is {data.amount[0]:g}, from which a model cannot learn.",
            hint="Check which column is mapped to amount.",
        )


def _scenario(rows: pa.Table, fraud: Truths) -> NDArray[np.object_]:
    if "fraud_scenario" not in rows.column_names:
        return np.full(len(fraud), None, dtype=object)
    names = np.array(rows["fraud_scenario"].to_pylist(), dtype=object)
    names[~fraud | (names == "")] = None
    return names
