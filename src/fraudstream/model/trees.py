"""Tree ensembles as plain tables: scored by numpy, converted for Spark by `spark.trees`, readable by any program.

An ensemble is a table of nodes, a way to combine the trees (mean or sum) and a link to `risk`.
Nothing here unpickles, and scoring needs no scikit-learn: the stream and the file scorer read only this.
Every comparison is `x <= threshold` in doubles.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fraudstream.arrays import Floats, Integers, Truths
from fraudstream.errors import InputError

NodeNumbers = NDArray[np.int32]

NODES = pa.schema(
    [
        pa.field("tree", pa.int32(), nullable=False),
        pa.field("node", pa.int32(), nullable=False),  # pre-order inside its tree, the root is 0
        pa.field("feature", pa.int32(), nullable=False),  # -1 at a leaf
        pa.field("threshold", pa.float64(), nullable=False),  # 0 at a leaf
        pa.field("left", pa.int32(), nullable=False),  # taken where x <= threshold; -1 at a leaf
        pa.field("right", pa.int32(), nullable=False),
        pa.field(
            "value", pa.float64(), nullable=False
        ),  # of an inner node: mean of its leaves, as training weighed them
        pa.field("count", pa.int64(), nullable=False),  # training rows that came through
    ]
)
"""One row per node. Values of inner nodes do not affect the risk; path attribution reads them."""

CHUNK = 2048
"""Rows scored at once: with 100 trees, the walk's three index arrays (5 MB) stay near the cache."""

LinkName = Literal["isolation", "identity", "sigmoid"]
Combine = Literal["mean", "sum"]


@dataclass(frozen=True, slots=True)
class Link:
    """From the combined value of the trees to `risk` in [0, 1], in numpy and in Spark SQL.

    - `isolation`: 2^(-mean path length / scale), the anomaly score of Liu, Ting, Zhou 2008 (equation 2);
      `scale` is c(max_samples), the mean path length of an unsuccessful search;
    - `identity`: the value is a probability already;
    - `sigmoid`: the value is a log-odds.
    """

    name: LinkName
    scale: float = 1.0

    def risk(self, value: Floats) -> Floats:
        """`risk` of combined values, any shape."""
        match self.name:
            case "isolation":
                return np.exp2(-value / self.scale)
            case "identity":
                return np.clip(value, 0.0, 1.0)  # a mean of probabilities may end at 1 + 2e-16
            case "sigmoid":
                # exp of a large positive number would overflow: mirror it.
                small = np.exp(-np.abs(value))
                return np.where(value >= 0, 1.0, small) / (1.0 + small)

    def sql(self) -> str:
        """The same as a Spark SQL expression of `prediction`. Doubles never raise there: exp overflows to infinity."""
        match self.name:
            case "isolation":
                return f"pow(2.0D, -prediction / {self.scale!r}D)"
            case "identity":
                return "greatest(0.0D, least(1.0D, prediction))"
            case "sigmoid":
                return "1.0D / (1.0D + exp(-prediction))"


@dataclass(frozen=True)
class Ensemble:
    """Trees with everything that turns a row of features into `risk`.

    `features` names the columns in the order that `nodes.feature` counts them.
    """

    nodes: pa.Table
    features: tuple[str, ...]
    combine: Combine
    link: Link
    _walk: "_Walk" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise InputError for tables with invalid indices or cycles."""
        object.__setattr__(self, "_walk", _Walk.of(self.nodes, len(self.features)))

    @property
    def trees(self) -> int:
        """The number of trees."""
        return len(self._walk.roots)

    def values(self, x: Floats) -> Floats:
        """Combined tree values (n,) of rows (n, features). Raises InputError if a feature is not finite."""
        x = checked(x, self.features)
        out = np.empty(len(x))
        for start in range(0, len(x), CHUNK):
            chunk = x[start : start + CHUNK]
            leaves = self._walk.value[self._walk.leaves(chunk)]
            out[start : start + CHUNK] = leaves.sum(axis=1)
        return out / self.trees if self.combine == "mean" else out

    def risk(self, x: Floats) -> Floats:
        """`risk` in [0, 1] (n,) of rows (n, features). Raises InputError if a feature is not finite."""
        return self.link.risk(self.values(x))

    @property
    def base(self) -> float:
        """The combined value before any split: that of the roots, which is the mean of the training rows by their weight."""
        return float(self._walk.value[self._walk.roots].sum()) / (self.trees if self.combine == "mean" else 1)

    def arrived(self, x: Floats) -> Integers:
        """How many of the rows end in each node of `nodes`: none in inner ones."""
        x, found = checked(x, self.features), np.zeros(self.nodes.num_rows, dtype=np.int64)
        for start in range(0, len(x), CHUNK):
            found += np.bincount(self._walk.leaves(x[start : start + CHUNK]).ravel(), minlength=len(found))
        return found

    def steps(self, x: Floats) -> Iterator[tuple[NodeNumbers, Floats]]:
        """The path of each row down each tree, level by level: the feature of the split, and the change of the value.

        Pairs of arrays (n, trees); once a row has reached its leaf, nothing changes. Per row, `base` and
        all changes (their mean over the trees, or their sum, as `combine` says) add up to `values`.
        Raises InputError if a feature is not finite.
        """
        yield from self._walk.steps(checked(x, self.features))

    def to_table(self) -> pa.Table:
        """The nodes, with the rest in the schema's metadata: the contents of `trees.parquet`."""
        about = {
            "features": list(self.features),
            "combine": self.combine,
            "link": self.link.name,
            "scale": self.link.scale,
        }
        return self.nodes.replace_schema_metadata({"fraudstream": json.dumps(about)})

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        """The ensemble of such a table. Raises InputError if it is invalid."""
        try:
            about = json.loads((table.schema.metadata or {})[b"fraudstream"])
            link = Link(about["link"], float(about["scale"]))
            features, combine = tuple(map(str, about["features"])), about["combine"]
            nodes = table.select(NODES.names).cast(NODES)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"These are not tree tables of fraudstream: {error!r}.") from None
        if (
            combine not in ("mean", "sum")
            or link.name not in ("isolation", "identity", "sigmoid")
            or not link.scale > 0
        ):
            raise InputError(f"Tree tables with an unknown combination: {combine}, {link.name}.")
        return cls(nodes, features, combine, link)


def checked(x: Floats, features: Sequence[str]) -> Floats:
    """`x` as doubles (n, features). Raises InputError if the shape is wrong or a value is not finite.

    A missing value has no defined path through these trees, and scikit-learn, numpy and the JVM would each
    choose a different one; features are finite by definition, so one that is not is a bug upstream.
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != len(features):  # noqa: PLR2004 - rows and columns
        raise InputError(f"Expected rows of {len(features)} features, got an array of shape {x.shape}.")
    finite = np.isfinite(x)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise InputError(
            f"Feature {features[column]} is {x[row, column]} in row {row}; features must be finite.",
            hint="Leave the rows out, or fill the missing values.",
        )
    return x


@dataclass(frozen=True, slots=True)
class _Walk:
    """The nodes of all trees in flat arrays; a leaf leads to itself, so a walk needs no mask.

    Node numbers have 32 bits, both children of a node are adjacent, and `take` skips the check of indices, which `of`
    did: together this reduces a walk of a row through 100 trees from 9.5 to 3.6 microseconds.
    """

    roots: NodeNumbers
    feature: NodeNumbers
    threshold: Floats
    children: NodeNumbers
    """For node i the left child is at 2 · i, taken if x <= threshold, and the right one follows it."""
    value: Floats
    depth: int

    @classmethod
    def of(cls, nodes: pa.Table, features: int) -> "_Walk":
        """Flat arrays of a table of nodes. Raises InputError if a child or feature does not exist."""
        column = {name: nodes[name].to_numpy() for name in NODES.names}
        tree, node = column["tree"].astype(np.int64), column["node"].astype(np.int64)
        roots = np.flatnonzero(node == 0)
        own = np.arange(len(tree))
        if not len(roots) or roots[0] != 0 or (np.diff(roots, append=len(tree)) < 1).any():
            raise InputError("Tree tables without a root.")
        start = np.repeat(roots, np.diff(roots, append=len(tree)))
        stop = np.repeat(np.append(roots[1:], len(tree)), np.diff(roots, append=len(tree)))
        leaf = column["left"] < 0
        left = np.where(leaf, own, start + column["left"])
        right = np.where(leaf, own, start + column["right"])
        # Children come later in pre-order, so every walk ends; any other table was tampered with.
        inner = ~leaf
        sound = (
            (node == own - start).all()
            and (left[inner] > own[inner]).all()
            and (right[inner] > own[inner]).all()
            and (right[inner] < stop[inner]).all()
            and (left[inner] < stop[inner]).all()
            and ((column["feature"][inner] >= 0) & (column["feature"][inner] < features)).all()
            and np.isfinite(column["value"]).all()
            and not np.isnan(column["threshold"]).any()
        )
        if not sound:
            raise InputError("Tree tables that contradict themselves.")
        return cls(
            roots.astype(np.int32),
            np.where(leaf, 0, column["feature"]).astype(np.int32),
            np.where(leaf, np.inf, column["threshold"]),
            np.stack([left, right], axis=1).astype(np.int32).ravel(),
            column["value"].astype(np.float64),
            _depth(left, right, leaf),
        )

    def leaves(self, x: Floats) -> NodeNumbers:
        """The leaf (n, trees) that each row ends in, as a position in the flat arrays."""
        cells, starts, at = self._start(x)
        for _ in range(self.depth):
            at = self._next(cells, starts, at)
        return at

    def steps(self, x: Floats) -> Iterator[tuple[NodeNumbers, Floats]]:
        """See `Ensemble.steps`."""
        cells, starts, at = self._start(x)
        for _ in range(self.depth):
            below = self._next(cells, starts, at)
            yield self.feature[at], self.value[below] - self.value[at]
            at = below

    def _start(self, x: Floats) -> tuple[Floats, Integers, NodeNumbers]:
        """The cells of x as a flat array, the start of each row in it (n, 1), and all rows at all roots."""
        rows, columns = x.shape
        narrow = np.int32 if x.size <= np.iinfo(np.int32).max else np.int64
        starts = np.arange(0, rows * columns, columns, dtype=narrow)[:, None]
        return np.ascontiguousarray(x).ravel(), starts, np.broadcast_to(self.roots, (rows, len(self.roots)))

    def _next(self, cells: Floats, starts: Integers, at: NodeNumbers) -> NodeNumbers:
        asked = cells.take(starts + self.feature.take(at, mode="clip"), mode="clip")
        goes_right = asked > self.threshold.take(at, mode="clip")
        return self.children.take(2 * at + goes_right, mode="clip")


def _depth(left: Integers, right: Integers, leaf: Truths) -> int:
    """Steps from a root to the deepest leaf."""
    depth = np.zeros(len(left), dtype=np.int64)
    for i in np.flatnonzero(~leaf):  # pre-order: parents come first
        depth[left[i]] = depth[right[i]] = depth[i] + 1
    return int(depth.max(initial=0))
