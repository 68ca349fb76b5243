"""An empty device, place or home is unknown: a payment with one is no switch to it, nor is it away from home."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from fraudstream.features import joined
from fraudstream.features.definitions import profile_columns
from fraudstream.features.events import INSTANT, Events
from fraudstream.features.memory import Memory
from fraudstream.features.profiles import fold
from fraudstream.features.training import view

START = datetime(2024, 1, 1, tzinfo=UTC)
SWITCHES = ("device_switch", "location_switch")
SEQUENCES = [
    (["ios", "android", "android"], [0, 1, 0]),
    (["ios", "", "ios"], [0, 0, 1]),
    (["", "ios", "", ""], [0, 1, 0, 0]),
    (["ios", "android", None], [0, 1, 0]),
]
"""Devices, or places, and which payments are known to come from one that the last payment did not come from."""


def payments(used: list[str | None]) -> pa.Table:
    """One customer's payments, an hour apart, each from this device and at this place; another's lie between them."""
    rows = len(used)
    hours = [START + timedelta(hours=hour / 2) for hour in range(2 * rows)]
    both = [text for one in used for text in (one, "pc")]
    return pa.table({
        "transaction_id": [f"t{n}" for n in range(2 * rows)],
        "user_id": ["u", "other"] * rows,
        "timestamp": pa.array(hours, INSTANT),
        "amount": [1.0] * (2 * rows),
        "device": pa.array(both, pa.string()),
        "transaction_location": pa.array(both, pa.string()),
    })  # fmt: skip


@pytest.mark.parametrize(("used", "switches"), SEQUENCES, ids=str)
def test_no_switch_leads_to_an_unknown_device_or_place(used: list[str | None], switches: list[int]) -> None:
    """In training, in a pipe however it is cut, and beside stored profiles that may hold the payment already."""
    table = payments(used)
    assert view(table, names=SWITCHES).values[::2].tolist() == [[float(s)] * 2 for s in switches]
    for step in (len(table), 3, 1):
        memory = Memory(SWITCHES)
        parts = [memory.features(table.slice(start, step)) for start in range(0, len(table), step)]
        assert np.concatenate(parts)[::2].tolist() == [[float(s)] * 2 for s in switches]
    for place, expected in enumerate(switches):
        one = Events(table.slice(2 * place, 1))
        for until, held in ((2 * place, False), (2 * place + 1, True)):
            profiles = fold(table.slice(0, until))
            stored = {
                entity: profiles.filter(
                    pa.compute.is_in(profiles["key"], value_set=pa.array(joined.keys(one, entity), pa.string()))
                ).filter(pa.compute.field("entity") == entity).select(["key", *columns])
                for entity, columns in profile_columns(SWITCHES).items()
            }  # fmt: skip
            found = joined.features(one, stored, SWITCHES, np.array([held]))
            assert found.tolist() == [[float(expected)] * 2]


@pytest.mark.parametrize(
    ("home", "place", "away"),
    [("Paris", "Lyon", 1.0), ("Paris", "Paris", 0.0), ("", "Lyon", 0.0), ("Paris", "", 0.0), ("", "", 0.0)],
)
def test_nobody_is_away_from_an_unknown_home_or_at_an_unknown_place(
    home: str, place: str, away: float
) -> None:
    table = payments(["a"]).slice(0, 1).drop_columns("transaction_location")
    table = table.append_column("location", pa.array([home])).append_column(
        "transaction_location", pa.array([place])
    )
    assert view(table, names=("location_change",)).values.tolist() == [[away]]
