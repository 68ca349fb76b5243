"""Rows to fit models on, and small models whose every split is known, packed as `train` packs them."""

from typing import Any

import numpy as np
import pyarrow as pa

from fraudstream.model import artifact, packing
from fraudstream.model.manifest import FORMAT
from fraudstream.model.trees import NODES, Ensemble, Link


def ensemble(*splits: tuple[str, float, float, float]) -> Ensemble:
    """One tree for each (feature, threshold, value at or below, value above), summed up to log-odds."""
    features = tuple(dict.fromkeys(name for name, *_ in splits))
    rows = []
    for tree, (name, threshold, low, high) in enumerate(splits):
        rows += [
            (tree, 0, features.index(name), threshold, 1, 2, (low + high) / 2, 2),
            (tree, 1, -1, 0.0, -1, -1, low, 1),
            (tree, 2, -1, 0.0, -1, -1, high, 1),
        ]
    columns = [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), NODES, strict=True)]
    return Ensemble(pa.table(columns, schema=NODES), features, "sum", Link("sigmoid"))


def exactly_at_its_threshold() -> tuple[dict[str, Any], bytes]:
    """A model packed whose risk of a payment above 100 is its threshold to the last bit, whoever works it out.

    Thresholds are chosen among the risks of real payments, so this is no rare case: one of each evaluation is at it.
    """
    return packed("at the threshold", ensemble(("amount", 100.0, -3.0, 0.0)), threshold=0.5)


def sample(rows: int = 3000, seed: int = 0, noise: int = 3) -> tuple[Any, Any]:
    """Amounts, shares, flags and columns of noise (rows, 3 + noise), with a label that needs several of them."""
    rng = np.random.default_rng(seed)
    x = np.column_stack(
        [
            rng.gamma(2, 50, rows),
            rng.choice([0.31, 0.33, 0.02], rows),
            rng.random(rows) < 0.03,
            *rng.normal(size=(noise, rows)),
        ]
    )
    return x, (((x[:, 0] > 150) & (x[:, 3] > 0)) | (x[:, 2] > 0)).astype(np.int64)


class Still:
    """An estimator that has learned nothing."""

    def fit(self, _x: Any, _y: Any) -> "Still":
        """Nothing."""
        return self

    def risk(self, x: Any) -> Any:
        """None at all."""
        return np.zeros(len(x))


def packed(
    version: str, trees: Ensemble | None, features: tuple[str, ...] = ("amount",), **changes: Any
) -> tuple[dict[str, Any], bytes]:
    """Manifest and artifact for `registry.register`; without trees a model that gives no reasons."""
    manifest = {
        "format": FORMAT,
        "version": version,
        "algorithm": "gradient_boosting",
        "features": list(trees.features if trees else features),
        "threshold": 0.5,
        "training": {"rows": 1000, "frauds": 5},
        "score_reference": {"edges": [0.2, 0.4, 0.6], "shares": [0.7, 0.1, 0.1, 0.1], "rows": 100},
    } | changes
    return manifest, packing.pack(artifact.files_of(manifest, Still(), trees))


def sealed(changed: dict[str, bytes]) -> dict[str, bytes]:
    """The files of a model with checksums that fit, as somebody who knows the format would leave them."""
    content = {name: data for name, data in changed.items() if name != artifact.SUMS}
    sums = "".join(f"{artifact._sha256(data)}  {name}\n" for name, data in content.items())
    return {**content, artifact.SUMS: sums.encode()}
