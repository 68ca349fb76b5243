"""Stores decisions in `shop.scores` and `shop.alerts`, and counts them, inside the transaction of the slice.

The first decision on a transaction is kept, whatever is decided or replayed again: everything else here uses only the
rows that were new to `shop.scores`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fraudstream.decision import FIELDS, JSON_COLUMN, DecisionDecoder
from fraudstream.decode import Decoded
from fraudstream.rules import Rule
from fraudstream.store.connection import Cursor
from fraudstream.store.copy import insert_new
from fraudstream.store.hourly import Hourly, hours, instant
from fraudstream.store.known_models import KnownModel, known_model
from fraudstream.store.latency import LatencyBins
from fraudstream.store.sums import Sums

if TYPE_CHECKING:
    import pyarrow as pa


ALERTS = (*(name for name in FIELDS if name != "flagged"), "reasons")
"""Columns of `shop.alerts`: all that an analyst needs, even of a transaction that is not stored."""
SCORES = (
    "transaction_id", "user_id", "timestamp", "amount", "risk", "flagged", "rules", "model_version", "scored_at", "sent_at"
)  # fmt: skip
"""Columns of `shop.scores`, which has every decision: the rest stands in `shop.transactions`."""


class Decisions:
    """The intake of the decisions topic: the target `scores`."""

    from_future = 0

    def __init__(self, cursor: Cursor, rules: Mapping[str, Rule]) -> None:
        self.cursor = cursor
        self._rules = rules
        self._decoder = DecisionDecoder()
        self._hourly = Hourly(cursor)
        self._latency = LatencyBins(cursor)
        keys = {"model_version": "text", "hour": "timestamptz", "bin": "int"}
        self._bins = Sums(cursor, "risk_bins", keys, {"count": "bigint"})

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        return self._decoder.decode(values)

    def write(self, _target: str, rows: "pa.Table") -> tuple[int, int]:
        # While one query of the scorer replaces another, both answer: a quarter of the decisions are already stored.
        new = insert_new(self.cursor, "scores", rows, "transaction_id", SCORES, repeated=True)
        self._hourly.add("scores", new)
        self._latency.add(new)
        for version in new["model_version"].unique().to_pylist():
            self._judged_by(version, new)
        return new.num_rows, rows.num_rows - new.num_rows

    def _judged_by(self, version: str, new: "pa.Table") -> None:
        import pyarrow.compute as pc

        rows = new.filter(pc.equal(new["model_version"], version))
        model = known_model(self.cursor, version)
        self._count_bins(version, model, rows)
        flagged = rows.filter(rows["flagged"])
        if flagged.num_rows:
            found = _with_reasons(model, flagged, self._rules)
            # An alert may exist without its score, if somebody deleted that: it stays as it was.
            self._hourly.add("alerts", insert_new(self.cursor, "alerts", found, "transaction_id", ALERTS))

    def _count_bins(self, version: str, model: KnownModel, rows: "pa.Table") -> None:
        """Count the risks per bin of their model's score reference; an unknown model has none."""
        if model.edges is None:
            return
        bins = np.searchsorted(model.edges, rows["risk"].to_numpy(), side="left")
        self._bins.count(
            (hours(rows["scored_at"]), bins), lambda hour, place: (version, instant(hour), place)
        )

    def finish(self) -> None:
        self._hourly.finish()
        self._bins.merge()
        self._latency.finish()


def _with_reasons(model: KnownModel, flagged: "pa.Table", rules: Mapping[str, Rule]) -> "pa.Table":
    """The alerts with the column `reasons`, as JSON."""
    import pyarrow as pa

    decisions = flagged.to_pylist()
    for decision in decisions:
        decision["features"] = msgspec.json.decode(decision["features"])
    texts = [msgspec.json.encode(found).decode() for found in model.explainer.reasons(decisions, rules)]
    field = pa.field("reasons", pa.string(), metadata=JSON_COLUMN)
    return flagged.append_column(field, pa.array(texts, pa.string()))
