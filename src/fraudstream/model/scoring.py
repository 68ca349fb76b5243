"""Decisions without a stream: the trees in numpy, the profiles in memory, the documents of the live scorer.

The state for a transaction is defined as follows, and results in the same risk as live and in the evaluation:

- It starts empty, or with the current contents of `shop.profiles` (`FileScorer.remember`).
- Each transaction sees those before it and is then folded in: those of a file in order of time, as in `train` and
  `evaluate`; those of a pipe in order of arrival, as in the consumer.
- Verdicts on past transactions come with the profiles, or, for a file, from the file itself once they are known
  (`score_with_verdicts`), as in `evaluate`. A row's own truth is never used.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fraudstream import decision
from fraudstream.arrays import Floats
from fraudstream.decision import Decision
from fraudstream.errors import InputError
from fraudstream.features import definitions, training
from fraudstream.features.catalogue import horizon
from fraudstream.features.context import with_context
from fraudstream.features.events import INSTANT
from fraudstream.features.memory import Memory
from fraudstream.model.artifact import Model
from fraudstream.model.risk import checked_risk

CHUNK: Final = 16_384
"""Transactions of a file that are processed together, so that memory does not grow with its length."""
IDS: Final = 250_000
"""Number of transaction ids of a pipe that are remembered, so that repeated ones count once."""
OTHER: Final = 3.0
"""Factor by which the share of fraud may differ from the training without a warning: seasons and waves of fraud do that."""
TELLING: Final = 10
"""With fewer frauds, seen or expected, such a difference may be chance."""
_COPIED: Final = tuple(
    name for name in decision.FIELDS if name in ("transaction_id", "user_id", *decision.CONTEXT)
)
"""String fields of a transaction that its decision repeats."""


class LineRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a line or row that is not a transaction: a `decision.Refusal` with its line number."""

    rejected: str
    """Why it was refused, in a sentence."""
    line: int
    """From 1; for a CSV or Parquet file, the data row."""
    scored_at: datetime


Answer = Decision | LineRefusal


class FileScorer:
    """A model, and the profiles so far."""

    def __init__(self, model: Model) -> None:
        """Raises InputError if the model cannot be read, or needs a package that is not installed."""
        self.model = model
        self._judge = model.scorer()
        self.features = with_context(model.features)
        """Features of a decision, as in the live scorer."""
        self._memory = Memory(self.features)
        self._ids: OrderedDict[str, None] = OrderedDict()
        self.newest: datetime | None = None
        """The latest transaction in the initial profiles; None if there was none."""

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        """Columns of `shop.profiles` that it reads, by entity."""
        return self._memory.reads

    def remember(self, profiles: Mapping[str, pa.Table]) -> None:
        """Start from profiles that `store.snapshot.profiles` read for `reads`."""
        self._memory.remember(profiles)
        latest = [pc.max(table["last_at"]).as_py() for table in profiles.values() if table.num_rows]
        self.newest = max(latest, default=None)

    def score_file(self, rows: pa.Table) -> Iterator[list[Decision]]:
        """Decisions on a file's transactions, which are in order of time; each one counts for later ones."""
        for start in range(0, rows.num_rows, CHUNK):
            chunk = rows.slice(start, CHUNK)
            yield self._decisions(chunk, self._memory.features(chunk))

    def score_arrivals(self, rows: pa.Table, now: datetime) -> list[Decision]:
        """Decisions on transactions in order of arrival.

        As in the sink, a repeated id is scored again but counts once, and a transaction more than a day
        ahead of `now` does not count for later ones.
        """
        in_time = pc.less_equal(rows["timestamp"], pa.scalar(horizon(now), INSTANT)).to_numpy()
        fresh = np.array([self._fresh(name) for name in rows["transaction_id"].to_pylist()], dtype=np.bool_)
        return self._decisions(rows, self._memory.features(rows, in_time & fresh))

    def score_with_verdicts(self, rows: pa.Table) -> Iterator[list[Decision]]:
        """Decisions on a file's transactions, whose verdicts count once they are known, as in `evaluate`.

        A verdict is known after the label delay of the model's training. The profiles must be empty before.
        """
        delay = self.model.label_delay_days
        values = training.view(rows, delay, self.features).values
        for start in range(0, rows.num_rows, CHUNK):
            yield self._decisions(rows.slice(start, CHUNK), values[start : start + CHUNK])

    def _fresh(self, name: str) -> bool:
        """Whether this id is new."""
        if name in self._ids:
            return False
        self._ids[name] = None
        if len(self._ids) > IDS:
            self._ids.popitem(last=False)
        return True

    def _decisions(self, rows: pa.Table, values: Floats) -> list[Decision]:
        risk = checked_risk(self._judge, values[:, : len(self.model.features)], f"Model {self.model.version}")
        texts = [
            rows[name].to_pylist() if name in rows.column_names else [None] * rows.num_rows
            for name in _COPIED
        ]
        names, threshold, version = self.features, self.model.threshold, self.model.version
        now = datetime.now(UTC)
        return [
            Decision(
                **dict(zip(_COPIED, text, strict=True)),
                timestamp=at,
                amount=amount,
                risk=worse,
                flagged=worse >= threshold,
                model_version=version,
                scored_at=now,
                features=dict(zip(names, looked_at, strict=True)),
            )
            for text, at, amount, worse, looked_at in zip(
                zip(*texts, strict=True),
                rows["timestamp"].to_pylist(),
                rows["amount"].to_pylist(),
                risk.tolist(),
                values.tolist(),
                strict=True,
            )
        ]


def check_fields(model: Model, fields: Iterable[str], source: str) -> None:
    """Raise InputError if `source` lacks a field that one of the model's features needs."""
    missing = needed_fields(model).difference(fields)
    if missing:
        names = [f.name for f in definitions.select(model.features) if not missing.isdisjoint(f.needs)]
        raise InputError(
            f"Model {model.version} uses {', '.join(names)}, but {source} has no {', '.join(sorted(missing))}.",
            hint=f"Name its column (--map THEIRS={min(missing)}), or train a model on files like this one.",
        )


def needed_fields(model: Model) -> frozenset[str]:
    """The fields that the model's features need, beyond time and amount."""
    return frozenset(field for feature in definitions.select(model.features) for field in feature.needs)


def looks_at_verdicts(model: Model) -> Sequence[str]:
    """The model's features that are computed from verdicts on past transactions."""
    return [feature.name for feature in definitions.select(model.features) if feature.uses_labels]


def other_delay(manifest: Mapping[str, Any], delay_days: float) -> str | None:
    """A warning if live profiles learn verdicts after a different delay than this model did; None if that has no effect."""
    learnt = manifest.get("label_delay_days", delay_days)
    if learnt == delay_days or not any(f.uses_labels for f in definitions.select(manifest["features"])):
        return None
    return (
        f"model {manifest['version']} was trained with a {learnt:g}-day label delay, and labels that come with"
        f" messages count in live profiles after {delay_days:g} (FRAUDSTREAM_MODEL__LABEL_DELAY_DAYS):"
        f" live it gets other shares of fraud than in training; train it with --label-delay-days {delay_days:g}, or change the setting"
    )


def other_fraud_share(manifest: Mapping[str, Any], profiles: Mapping[str, pa.Table]) -> str | None:
    """A warning if the share of fraud among the labels in these profiles is far from that of the training.

    Entities without labels get the overall share. If labels come from chargebacks and reviewed alerts only, every merchant
    and customer without labels therefore looks like the worst ones of the training. None if the model does not use that
    share, or there are too few labels to tell.
    """
    names = [f.name for f in definitions.select(manifest["features"]) if ("total", "fraud_30d") in f.reads]
    training, total = manifest.get("training", {}), profiles.get("total")
    if not names or not total or not training.get("judged") or not training.get("frauds"):
        return None
    usual = training["frauds"] / training["judged"]
    frauds, known = (float(total[name][0].as_py()) for name in ("fraud_30d", "labelled_30d"))
    too_many = frauds >= TELLING and frauds > OTHER * usual * known
    too_few = usual * known >= TELLING and OTHER * frauds < usual * known
    if not (too_many or too_few):
        return None
    return (
        f"{usual:.2%} of the labelled transactions that model {manifest['version']} learned from were fraud, but"
        f" {frauds / known:.2%} of those in live profiles: that share also stands for merchants, devices and customers"
        f" without labels ({', '.join(names)}), so risks are not what the evaluation says; label legitimate transactions,"
        " too, or train a model without these features"
    )
