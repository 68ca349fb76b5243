"""What the sink knows of the models whose decisions it stores: kept in each process, read once for each version."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fraudstream.errors import DatabaseError, InputError
from fraudstream.model import artifact, packing
from fraudstream.reasons.explainer import Explainer
from fraudstream.store import registry
from fraudstream.store.connection import Cursor

if TYPE_CHECKING:
    from numpy.typing import NDArray


KEPT = 8
"""Versions that a process keeps: a stream has one, for a while two. A hundred deep trees take some megabytes."""


@dataclass(frozen=True)
class KnownModel:
    """A model as far as its decisions are concerned."""

    explainer: Explainer
    edges: "NDArray[np.float64] | None" = None
    """Between the bins of its score reference; None where it has none."""


_known: "OrderedDict[tuple[str, str], KnownModel]" = OrderedDict()


def known_model(cursor: Cursor, version: str) -> KnownModel:
    """The model of this version from the registry, or what can be said without it. Nothing is unpickled.

    One that cannot be had is asked for again with each slice: it may be registered late, or brought back.
    """
    key = (cursor.connection.info.dsn, version)
    if key not in _known:
        try:
            registered, packed = registry.load_on(cursor.connection, version)
            _known[key] = _read(registered.manifest, packing.unpack(packed, f"Model {version}"))
        except (InputError, DatabaseError) as error:
            return KnownModel(Explainer(version, trouble=f"no reasons: {error.message}"))
        if len(_known) > KEPT:
            _known.popitem(last=False)
    _known.move_to_end(key)
    return _known[key]


def _read(manifest: Mapping[str, Any], model: artifact.Model) -> KnownModel:
    # A null says the same as nothing, and must not stop the stream of decisions.
    learnt, reference = manifest.get("training") or {}, manifest.get("score_reference") or {}
    explainer = Explainer(
        model.version,
        model.trees(),
        model.threshold,
        _fraud_share(learnt),
        f"no reasons: model {model.version} has no trees that could be read",
    )
    return KnownModel(explainer, np.asarray(reference["edges"]) if "edges" in reference else None)


def _fraud_share(learnt: Mapping[str, Any]) -> float | None:
    """Of the judged payments that the model learned from; older manifests count those that nobody judged, too."""
    frauds, payments = learnt.get("frauds"), learnt.get("judged") or learnt.get("rows")
    return frauds / payments if frauds and payments else None
