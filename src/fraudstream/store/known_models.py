"""The models whose decisions the sink stores: cached in each process, read once per version."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudstream.arrays import Floats
from fraudstream.errors import DatabaseError, InputError
from fraudstream.model.artifact import Model
from fraudstream.reasons.explainer import Explainer
from fraudstream.store import registry
from fraudstream.store.connection import Cursor

KEPT = 8
"""Versions cached per process: a stream has one, for a while two. A hundred deep trees take a few megabytes."""


@dataclass(frozen=True)
class KnownModel:
    """What storing a model's decisions needs."""

    explainer: Explainer
    edges: Floats | None = None
    """Edges between the bins of its score reference; None if it has none."""


_known: "OrderedDict[tuple[str, str], KnownModel]" = OrderedDict()


def known_model(cursor: Cursor, version: str) -> KnownModel:
    """The model of this version from the registry, or a substitute that gives no reasons. Nothing is unpickled.

    A missing model is looked up again with each slice: it may be registered late, or restored.
    """
    key = (cursor.connection.info.dsn, version)
    if key not in _known:
        try:
            _known[key] = _read(registry.opened_on(cursor.connection, version))
        except (InputError, DatabaseError) as error:
            return KnownModel(Explainer(version, trouble=f"no reasons: {error.message}"))
        if len(_known) > KEPT:
            _known.popitem(last=False)
    _known.move_to_end(key)
    return _known[key]


def _read(model: Model) -> KnownModel:
    # A null means the same as a missing key, and must not stop the stream of decisions.
    learnt, reference = model.manifest.get("training") or {}, model.manifest.get("score_reference") or {}
    explainer = Explainer(
        model.version,
        model.trees(),
        model.threshold,
        _fraud_share(learnt),
        f"no reasons: model {model.version} has no trees that could be read",
    )
    return KnownModel(explainer, np.asarray(reference["edges"]) if "edges" in reference else None)


def _fraud_share(learnt: Mapping[str, Any]) -> float | None:
    """The share of fraud in the labelled training payments; in older manifests, in all training payments."""
    frauds, payments = learnt.get("frauds"), learnt.get("judged") or learnt.get("rows")
    return frauds / payments if frauds and payments else None
