"""Exact tree tables of fitted scikit-learn ensembles.

scikit-learn's forests compare `float32(x) <= threshold`, the tables compare doubles: each threshold is moved
to the largest double that still rounds to a float32 at or below the original, so that both decide the same for
every double. HistGradientBoosting already compares doubles.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fraudstream.arrays import Floats, Integers, Truths
from fraudstream.errors import InputError
from fraudstream.model.trees import NODES, Ensemble, Link


def double_threshold(threshold: Floats) -> Floats:
    """The largest doubles d such that float32(d) <= threshold, elementwise.

    float32 rounds to nearest, ties to even: everything up to the midpoint between two neighbours goes
    down, and the midpoint itself goes to the one whose last bit is 0.
    """
    threshold = np.asarray(threshold, dtype=np.float64)
    low = threshold.astype(np.float32)
    low = np.where(low.astype(np.float64) > threshold, np.nextafter(low, np.float32(-np.inf)), low)
    low = low.astype(np.float32)
    high = np.nextafter(low, np.float32(np.inf)).astype(np.float64)
    middle = (low.astype(np.float64) + high) / 2
    even = (low.view(np.uint32) & 1) == 0
    return np.where(even, middle, np.nextafter(middle, -np.inf))


def undo(monotone: Callable[[Floats], Floats], limit: Floats) -> Floats:
    """The largest doubles x with monotone(x) <= limit, elementwise, for a nondecreasing function.

    A tree over g(x) becomes the same tree over x: g(x) <= t exactly where x <= undo(g, t). Bisection over
    the ordered bit patterns of doubles, so the answer is exact to the last bit, however g rounds.
    -inf if no finite x qualifies.
    """
    limit = np.asarray(limit, dtype=np.float64)
    highest = np.finfo(np.float64).max
    low = np.full(limit.shape, _ordinal(np.float64(-highest)), dtype=np.int64)
    high = np.full(limit.shape, _ordinal(np.float64(highest)), dtype=np.int64)
    none = monotone(_from_ordinal(low)) > limit
    while (low < high).any():
        middle = (low >> 1) + (high >> 1) + ((low | high) & 1)  # rounds up without overflow
        fits = monotone(_from_ordinal(middle)) <= limit
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    return np.where(none, -np.inf, _from_ordinal(low))


def _ordinal(x: np.float64) -> np.int64:
    """The rank of a double among all doubles: consecutive numbers for consecutive doubles."""
    bits = np.int64(x.view(np.int64))
    return bits if bits >= 0 else np.int64(np.iinfo(np.int64).min) - bits


def _from_ordinal(ordinal: Integers) -> Floats:
    return np.where(ordinal >= 0, ordinal, np.iinfo(np.int64).min - ordinal).astype(np.int64).view(np.float64)


@dataclass(frozen=True, slots=True)
class Side:
    """Which side of a feature is suspicious, and from which limit on: all values on the other side count as equal.

    max(x, limit) if high values are suspicious; max(-x, -limit) if low ones are (`falls`).
    """

    limit: float
    falls: bool = False

    def __call__(self, x: Floats) -> Floats:
        """The feature as the forest sees it, higher is worse."""
        return self.rising(-x if self.falls else x)

    def rising(self, x: Floats) -> Floats:
        """The nondecreasing function, of x or of -x."""
        return np.maximum(x, -self.limit if self.falls else self.limit)


@dataclass(frozen=True, slots=True)
class _Tree:
    """One tree in scikit-learn's own node order; children are -1 at leaves."""

    left: Integers
    right: Integers
    feature: Integers
    threshold: Floats
    value: Floats
    count: Integers
    weight: NDArray[Any]
    """What passed through each node in training: rows, or their weights. Inner values are means by it."""

    def table(self, number: int) -> dict[str, Any]:
        """Columns of NODES, in pre-order."""
        order, stack = [], [0]
        while stack:
            i = stack.pop()
            order.append(i)
            if self.left[i] >= 0:
                stack += [int(self.right[i]), int(self.left[i])]
        place = np.full(len(self.left) + 1, -1)  # the last entry is for child -1
        place[order] = np.arange(len(order))
        leaf = self.left[order] < 0
        columns = {
            "tree": np.full(len(order), number),
            "node": np.arange(len(order)),
            "feature": np.where(leaf, -1, self.feature[order]),
            "threshold": np.where(leaf, 0.0, self.threshold[order]),
            "left": np.where(leaf, -1, place[self.left[order]]),
            "right": np.where(leaf, -1, place[self.right[order]]),
            "value": self.value[order].astype(np.float64),
            "count": self.count[order].astype(np.int64),
        }
        _average_upwards(columns["value"], self.weight[order].astype(np.float64), leaf, columns)
        return columns


def _average_upwards(
    value: Floats, weight: Floats, leaf: Truths, columns: Mapping[str, NDArray[Any]]
) -> None:
    """Set inner nodes to the weighted mean of their leaves, so that a step down a path is what a split tells on average."""
    left, right = columns["left"], columns["right"]
    for i in np.flatnonzero(~leaf)[::-1]:  # children come after their parent
        a, b = left[i], right[i]
        weight[i] = weight[a] + weight[b]
        share = weight[a] / weight[i] if weight[i] > 0 else 0.5
        value[i] = share * value[a] + (1 - share) * value[b]


def _nodes(trees: Iterator[_Tree]) -> pa.Table:
    tables = [tree.table(number) for number, tree in enumerate(trees)]
    return pa.table(
        [pa.array(np.concatenate([t[f.name] for t in tables]), f.type) for f in NODES], schema=NODES
    )


def average_path_length(rows: NDArray[Any]) -> Floats:
    """c(n): mean path length of an unsuccessful search in a binary search tree of n rows.

    Liu, Ting, Zhou, Isolation Forest, 2008, equation 1, with scikit-learn's values at n <= 2.
    """
    n = np.asarray(rows, dtype=np.float64)
    many = np.maximum(n, 3.0)
    long = 2.0 * (np.log(many - 1.0) + np.euler_gamma) - 2.0 * (many - 1.0) / many
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, long))  # noqa: PLR2004 - the formula's own case


def from_isolation_forest(
    model: Any, features: Sequence[str], sides: "Sequence[Side] | None" = None
) -> Ensemble:
    """The exact trees of a fitted IsolationForest; `risk` equals `-score_samples`.

    If the forest was fitted on `sides[j](x_j)`, the returned trees are over x itself.
    """

    def trees() -> Iterator[_Tree]:
        for estimator, columns in zip(model.estimators_, model.estimators_features_, strict=True):
            tree = estimator.tree_
            depth = np.zeros(tree.node_count)
            for i in range(tree.node_count):
                if tree.children_left[i] >= 0:
                    depth[tree.children_left[i]] = depth[tree.children_right[i]] = depth[i] + 1
            left, right = tree.children_left.copy(), tree.children_right.copy()
            inner = left >= 0
            feature = np.where(inner, np.asarray(columns)[np.where(inner, tree.feature, 0)], -1)
            threshold = double_threshold(np.where(inner, tree.threshold, 0.0))
            for j, side in enumerate(sides or ()):
                used = inner & (feature == j)
                threshold[used] = undo(side.rising, threshold[used])
                if side.falls:
                    # g(-x) <= t where -x <= b, that is where x >= -b: the other child, from the next double down.
                    threshold[used] = np.nextafter(-threshold[used], -np.inf)
                    left[used], right[used] = right[used], left[used]
            length = depth + average_path_length(tree.n_node_samples)
            rows = tree.n_node_samples
            yield _Tree(left, right, feature, threshold, length, rows, rows)

    scale = float(average_path_length(np.array(model._max_samples)))  # noqa: SLF001 - no public name
    if scale <= 0:
        raise InputError(
            "An isolation forest needs at least two rows to sample.", hint="Give it more transactions."
        )
    return Ensemble(_nodes(trees()), tuple(features), "mean", Link("isolation", scale))


def from_random_forest(model: Any, features: Sequence[str]) -> Ensemble:
    """The exact trees of a fitted RandomForestClassifier of classes 0 and 1; `risk` equals the probability of 1."""

    def trees() -> Iterator[_Tree]:
        fraud = list(model.classes_).index(1)
        for estimator in model.estimators_:
            tree = estimator.tree_
            value = tree.value[:, 0, :]
            threshold = double_threshold(np.where(tree.children_left >= 0, tree.threshold, 0.0))
            share = value[:, fraud] / value.sum(axis=1)
            # Rows are drawn repeatedly, and weigh differently.
            rows, weight = tree.n_node_samples, tree.weighted_n_node_samples
            yield _Tree(tree.children_left, tree.children_right, tree.feature, threshold, share, rows, weight)

    return Ensemble(_nodes(trees()), tuple(features), "mean", Link("identity"))


def from_gradient_boosting(
    model: Any, features: Sequence[str], frauds: Floats | None = None, weight: float = 1.0
) -> Ensemble:
    """The exact trees of a fitted HistGradientBoostingClassifier of two classes, numeric features.

    The baseline is a first tree of one node, so that the sum of the trees is the raw score. `weight` is that of each training
    row but the `frauds`, which have 1. Neither counts nor values of scikit-learn's inner nodes tell the mean of the leaves
    below by weight: its values are single steps, by second derivatives and shrunk by the regularisation.
    """

    def trees() -> Iterator[_Tree]:
        nothing, one = np.array([-1]), np.ones(1, dtype=np.int64)
        baseline = np.ravel(model._baseline_prediction).astype(np.float64)  # noqa: SLF001 - no public name
        yield _Tree(nothing, nothing, nothing, np.zeros(1), baseline, one, one)
        for (predictor,) in model._predictors:  # noqa: SLF001
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            if (~leaf & nodes["is_categorical"].astype(bool)).any():
                raise InputError("Categorical splits cannot be exported; give the features as numbers.")
            yield _Tree(
                np.where(leaf, -1, nodes["left"].astype(np.int64)),
                np.where(leaf, -1, nodes["right"].astype(np.int64)),
                np.where(leaf, -1, nodes["feature_idx"]),
                np.where(leaf, 0.0, nodes["num_threshold"]),
                nodes["value"],
                nodes["count"].astype(np.int64),
                nodes["count"],
            )

    found = Ensemble(_nodes(trees()), tuple(features), "sum", Link("sigmoid"))
    if frauds is None:
        return found
    light, all_rows = found.arrived(frauds), found.nodes["count"].to_numpy()
    return _weighed(found, light + weight * (all_rows - light))


def _weighed(ensemble: Ensemble, weight: Floats) -> Ensemble:
    """The same trees, with inner values that are means by the `weight` of what ends in each leaf."""
    nodes = ensemble.nodes
    value = nodes["value"].to_numpy().copy()
    own = np.arange(len(value)) - nodes["node"].to_numpy()  # where each node's tree begins
    inner = nodes["left"].to_numpy() >= 0
    children = {name: np.where(inner, own + nodes[name].to_numpy(), -1) for name in ("left", "right")}
    _average_upwards(value, weight, ~inner, children)
    place = NODES.get_field_index("value")
    table = nodes.set_column(place, NODES.field(place), pa.array(value))
    return Ensemble(table, ensemble.features, ensemble.combine, ensemble.link)
