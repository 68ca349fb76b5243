"""Small hostile transactions for the tests of features, and a plain reference that replays them row by row."""

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from fraudstream.features.catalogue import (
    COLUMNS,
    COUNTERS,
    ENTITIES,
    LARGEST_AMOUNT,
    LARGEST_OF_EVERYBODY,
    NEVER_SECONDS,
    SMALLEST_AMOUNT,
)
from fraudstream.features.counters import NEVER
from fraudstream.features.events import INSTANT, pair_key

NUMBERS = tuple(name for name, kind in COLUMNS.items() if kind == "float")
"""Columns of a profile that hold a number."""
START = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
DAY_MICROS = 86_400_000_000

# Texts that would collide if keys were joined carelessly, or break SQL, or are longer in bytes than in characters.
DEVICES = np.array(["ios", "android", "web", "1:ios", "", "😀:x"], dtype=object)
PLACES = np.array(
    ["Berlin", "Paris", "'; drop table shop.profiles; --", "3:a", "São Paulo", ""], dtype=object
)


def world(rows: int, seed: int = 0, days: float = 60.0, users: int = 300, merchants: int = 80) -> pa.Table:
    """Transactions in order of arrival, which is the order of time; about one in ten shares its second with another.

    Users and merchants are skewed, some optional fields and labels are null, some labels have
    their own time of arrival.
    """
    rng = np.random.default_rng(seed)
    moments = np.sort(rng.integers(0, max(int(days * 86_400), 1), rows)) + START
    again = rng.random(rows) < 0.1
    moments[1:][again[1:]] = moments[:-1][again[1:]]
    moments = np.maximum.accumulate(moments)
    fraction = np.where(rng.random(rows) < 0.5, 0, 250_000)
    micros = np.maximum.accumulate(moments * 1_000_000 + fraction)
    user = (users * rng.random(rows) ** 3).astype(int)
    merchant = (merchants * rng.random(rows) ** 2).astype(int)
    amount = np.round(rng.lognormal(3 + (user % 5) / 2, 0.6), 2) + 0.01
    fraud = rng.random(rows) < np.where(merchant % 20 == 3, 0.4, 0.01)
    delay = rng.exponential(10 * DAY_MICROS, rows).astype(np.int64)
    return pa.table(
        {
            "transaction_id": [f"t{i}" for i in range(rows)],
            "user_id": [("u:%d" if u % 2 else "ü%d") % u for u in user],
            "timestamp": pa.array(micros).cast(INSTANT),
            "amount": amount,
            "device": _some(rng, DEVICES[(user + (rng.random(rows) < 0.1)) % len(DEVICES)]),
            "location": _some(rng, PLACES[user % len(PLACES)]),
            "transaction_location": _some(rng, PLACES[(user + (rng.random(rows) < 0.15)) % len(PLACES)]),
            "merchant_id": _some(rng, np.array([f"m{m}" for m in merchant], dtype=object)),
            "is_fraud": pa.array(fraud, mask=rng.random(rows) < 0.2),
            "labelled_at": pa.array(micros + delay, mask=rng.random(rows) < 0.5).cast(INSTANT),
        }
    )


def _some(rng: np.random.Generator, texts: Any) -> pa.Array:
    return pa.array(texts, pa.string(), mask=rng.random(len(texts)) < 0.02)


def entity_key(entity: str, row: dict[str, Any]) -> str | None:
    """The key of a row's entity, by the sentence in the documentation."""
    values = [row[field] for field in ENTITIES[entity].fields if row.get(field) is not None]
    if len(values) < len(ENTITIES[entity].fields):
        return None
    return pair_key(*values) if len(values) == 2 else "".join(values)


class Ledger:
    """Profiles kept one event after the other with plain arithmetic: the reference for everything vectorised."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str], tuple[int, dict[str, float]]] = {}
        self._paid: dict[tuple[str, str], tuple[list[int], list[float]]] = {}

    def add(self, row: dict[str, Any], micros: int, *, label: bool = False) -> None:
        """Fold one transaction, or its label."""
        amount = max(min(row["amount"], LARGEST_AMOUNT), SMALLEST_AMOUNT)
        fraud = float(row["is_fraud"]) if label else 0.0
        worth = {"one": 1.0, "amount": amount, "amount_squared": amount**2, "labelled": 1.0, "fraud": fraud}
        for name, entity in ENTITIES.items():
            key = entity_key(name, row)
            if key is None or (label and not any(COUNTERS[c].of_labels for c in entity.counters)):
                continue
            at, state = self.states.get((name, key), (NEVER, dict.fromkeys(entity.counters, 0.0)))
            last = max(at, micros)
            merged = {}
            for counter in map(COUNTERS.__getitem__, entity.counters):
                value = worth[counter.source] if counter.of_labels == label else 0.0
                if counter.source == "amount" and name == "total":
                    value = min(value, LARGEST_OF_EVERYBODY)
                if counter.half_life is None:
                    merged[counter.name] = max(state[counter.name], value)
                    continue
                old = state[counter.name] * 2.0 ** (-(last - at) / 1e6 / counter.half_life)
                merged[counter.name] = old + value * 2.0 ** (-(last - micros) / 1e6 / counter.half_life)
            times, amounts = self._paid.setdefault((name, key), ([], []))
            if not label:
                times.append(micros)
                amounts.append(amount)
            times[:], amounts[:] = sorted(times)[-2:], sorted(amounts)[-2:]
            two = len(times) > 1
            merged["last_gap"] = min((times[1] - times[0]) / 1e6, NEVER_SECONDS) if two else NEVER_SECONDS
            merged["amount_second"] = amounts[0] if two and "amount_max" in entity.counters else 0.0
            self.states[name, key] = (last, merged)

    def profile(self, entity: str, row: dict[str, Any]) -> tuple[int, dict[str, float]] | None:
        """What is stored for a row's entity."""
        key = entity_key(entity, row)
        return None if key is None else self.states.get((entity, key))


def replay(
    table: pa.Table, label_delay_days: float = 7.0, *, folded: bool = False
) -> Iterator[tuple[dict[str, Any], Ledger]]:
    """Every row in order, with the ledger as it stands just before, or just after it was `folded`.

    Labels fold in once they are known.
    """
    ledger = Ledger()
    pending: list[tuple[int, int, dict[str, Any]]] = []
    micros = table["timestamp"].cast(pa.int64()).to_pylist()
    recorded = table["labelled_at"].cast(pa.int64()).to_pylist()
    for i, row in enumerate(table.to_pylist()):
        while pending and pending[0][0] < micros[i]:
            _, j, judged = heapq.heappop(pending)
            ledger.add(judged, micros[j], label=True)
        if not folded:
            yield row, ledger
        ledger.add(row, micros[i])
        if folded:
            yield row, ledger
        if row["is_fraud"] is not None:
            known = micros[i] + round(label_delay_days * DAY_MICROS) if recorded[i] is None else recorded[i]
            heapq.heappush(pending, (max(known, micros[i]), i, row))
