"""What the sink knows of the models whose decisions it stores: kept in each process, read once for each version."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

from fraudstream.errors import InputError
from fraudstream.model import artifact
from fraudstream.store import registry

if TYPE_CHECKING:
    from numpy.typing import NDArray

Cursor = psycopg.Cursor[tuple[Any, ...]]

KEPT = 8
"""Versions that a process keeps: a stream has one, for a while two. A hundred deep trees take some megabytes."""


@dataclass(frozen=True)
class KnownModel:
    """A model as far as its decisions are concerned."""

    version: str
    edges: "NDArray[np.float64] | None"
    """Inner edges of the bins of its score reference; None where it has none."""

    def reasons(self, decisions: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
        """Why each decision flagged."""
        return [[] for _ in decisions]


_known: "OrderedDict[tuple[str, str], KnownModel]" = OrderedDict()


def known_model(cursor: Cursor, version: str) -> KnownModel:
    """The model of this version from the registry, or what can be said without it.

    One that the registry does not have is asked for again with each slice, as it may be registered late.
    """
    key = (cursor.connection.info.dsn, version)
    if key in _known:
        _known.move_to_end(key)
        return _known[key]
    try:
        registered, packed = registry.load_on(cursor.connection, version)
        model = _read(registered.manifest, artifact.unpack(packed, f"Model {version}"))
    except InputError:
        return KnownModel(version, None)
    _known[key] = model
    while len(_known) > KEPT:
        _known.popitem(last=False)
    return model


def _read(manifest: Mapping[str, Any], model: artifact.Model) -> KnownModel:
    reference = manifest.get("score_reference") or {}
    edges = np.asarray(reference["edges"], dtype=np.float64) if "edges" in reference else None
    return KnownModel(model.version, edges)
