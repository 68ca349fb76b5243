"""Rules on stored history: features as of just before each transaction, conditions as they run live."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from fraudstream.arrays import Floats, Truths
from fraudstream.errors import InputError
from fraudstream.features import training
from fraudstream.micros import DAY, moment
from fraudstream.model import reporting
from fraudstream.model.artifact import Model
from fraudstream.model.dataset import until_now
from fraudstream.model.folds import began_at, busy_days, days_between, end_of
from fraudstream.rules import features_read
from fraudstream.rules.backtest import Window, report
from fraudstream.rules.columns import columns
from fraudstream.schema import FIELDS
from fraudstream.spark.rules import RuleSet

CHUNK: Final = 250_000
"""Transactions per Spark job."""
SHORTEST: Final = 1 / 86_400
"""Minimum length of a history in days: one with a single transaction has no length."""


def backtest(
    ruleset: RuleSet,
    transactions: pa.Table,
    *,
    model: Model | None,
    days: float,
    label_delay_days: float,
) -> dict[str, Any]:
    """The alerts of the rules in the last `days` days of `transactions` (as `training_rows.transactions`).

    Labels reach the rules after `label_delay_days`, as they do live, and the model after the delay of its training.
    Everything before feeds the features. Quiet days, as in training, do not count: a stray timestamp does not end
    the history. Raises InputError if there are no transactions, or if a feature
    cannot be computed.
    """
    rules = ruleset.rules
    rows = _until_now(transactions).sort_by("timestamp").combine_chunks()
    names = features_read(rules)
    wanted = {label_delay_days: [*names]}
    if model is not None:
        delay = float(model.manifest.get("label_delay_days", label_delay_days))
        wanted.setdefault(delay, []).extend(model.features)
    read = tuple(dict.fromkeys(name for some in wanted.values() for name in some))
    # One view if both delays are equal, as they usually are: a view of two million rows takes 15 s.
    views = {after: training.view(rows, after, tuple(dict.fromkeys(some))) for after, some in wanted.items()}
    micros = rows["timestamp"].cast(pa.int64()).to_numpy()
    until = end_of(micros) - 1
    since = max(until - round(days * DAY), int(micros[0]))
    within = (micros >= since) & (micros <= until)
    risk = None if model is None else model.risk(_columns(views[delay], model.features)[within])
    rows, values = rows.filter(pa.array(within)), _columns(views[label_delay_days], names)[within]
    window = Window(
        days=max(days_between(micros, since, until), SHORTEST),
        fraud=rows["is_fraud"].fill_null(False).to_numpy(),
        judged=rows["is_fraud"].is_valid().to_numpy(),
        flagged=None if model is None or risk is None else risk >= model.threshold,
    )
    known = dict(zip(names, values.T, strict=True))
    hits = held(ruleset, rows, known)
    return {
        "since": moment(since).isoformat(),
        "until": moment(until).isoformat(),
        **report(rules, hits, window),
        "notes": [
            *reporting.gaps(micros, since, "alerts per day are averaged over the other days"),
            *_notes(model, window, moment(since)),
            *reporting.without_habits(
                began_at(micros, busy_days(micros)),
                since,
                read,
                "the first of these days",
                "the figures look worse than they are",
            ),
        ],
    }


def _columns(view: training.FeatureTable, names: Sequence[str]) -> Floats:
    return view.values[:, [view.names.index(name) for name in names]]


def _until_now(transactions: pa.Table) -> pa.Table:
    """The transactions that are not in the future. Raises InputError if there are none."""
    rows, _ = until_now(transactions)
    if not rows.num_rows:
        raise InputError(
            "There are no transactions to try the rules on.", hint="Check what `fraudstream consume` stored."
        )
    return rows


def held(ruleset: RuleSet, rows: pa.Table, features: dict[str, Floats]) -> Truths:
    """Which rule holds for which transaction, as (rules, rows). `features` has a value per row, by name."""
    fields = {n: rows[n] for n in FIELDS if n in columns() and n in rows.column_names and n not in features}
    table = pa.table({"__row": pa.array(np.arange(rows.num_rows)), **fields, **features})
    place = {rule.name: i for i, rule in enumerate(ruleset.rules)}
    found = np.zeros((len(place), rows.num_rows), dtype=np.bool_)
    for start in range(0, rows.num_rows, CHUNK):
        frame = ruleset.add(ruleset.spark.createDataFrame(table.slice(start, CHUNK)))
        hit = frame.filter(F.size("rules") > 0).select("__row", F.explode("rules").alias("rule")).toArrow()
        found[[place[name] for name in hit["rule"].to_pylist()], hit["__row"].to_numpy()] = True
    return found


def _notes(model: Model | None, window: Window, since: datetime) -> list[str]:
    """Notes that a reader needs to interpret the figures."""
    notes, covered = [], window.coverage
    if not window.judged.any():
        notes.append("Nothing is labelled yet: precision and recall cannot be computed.")
    elif not window.fraud.any():
        notes.append("No fraud is known in these days: recall cannot be computed.")
    if window.judged.any() and covered.one_sided:
        notes.append(
            f"Labels hardly cover ordinary payments in these days ({covered.frauds:,} fraudulent,"
            f" {covered.legitimate:,} legitimate of {len(window.fraud):,}), so nothing says how many alerts were false:"
            " precision cannot be computed."
        )
    if model is None:
        notes.append("No model is champion yet: what the rules would add to it cannot be computed.")
    elif model.learned_until > since:
        notes.append(
            f"Model {model.version} learned from some of these days, where it looks better than it is:"
            " what the rules add to it is at least this much."
        )
    return notes
