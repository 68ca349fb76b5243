"""Tree tables decide exactly as scikit-learn does."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier

from fraudstream.errors import InputError
from fraudstream.model.extract import (
    Side,
    double_threshold,
    from_gradient_boosting,
    from_isolation_forest,
    from_random_forest,
    undo,
)
from fraudstream.model.trees import Ensemble, Link
from model_world import sample

FEATURES = ("amount", "share", "flag", "a", "b", "c")


def fitted(name: str) -> tuple[Ensemble, Any]:
    """Tables of one algorithm, and the risk that scikit-learn itself gives."""
    x, y = sample()
    if name == "isolation_forest":
        forest = IsolationForest(n_estimators=50, max_samples=200, random_state=42).fit(x)
        return from_isolation_forest(forest, FEATURES), lambda z: -forest.score_samples(z)
    if name == "isolation_forest on some features":
        forest = IsolationForest(n_estimators=50, max_features=3, random_state=42).fit(x)
        return from_isolation_forest(forest, FEATURES), lambda z: -forest.score_samples(z)
    if name == "random_forest":
        wood = RandomForestClassifier(50, max_depth=8, class_weight="balanced", random_state=0).fit(x, y)
        return from_random_forest(wood, FEATURES), lambda z: wood.predict_proba(z)[:, 1]
    boosting = HistGradientBoostingClassifier(
        max_iter=80, learning_rate=0.05, max_leaf_nodes=8, l2_regularization=5, random_state=0
    ).fit(x, y)
    return from_gradient_boosting(boosting, FEATURES), lambda z: boosting.predict_proba(z)[:, 1]


ALGORITHMS = (
    "isolation_forest",
    "isolation_forest on some features",
    "random_forest",
    "gradient_boosting",
)


def on_thresholds(ensemble: Ensemble, x: Any, rows: int = 4000) -> Any:
    """Rows whose values lie exactly on a threshold, or one double or one float32 beside it."""
    rng = np.random.default_rng(1)
    x = x[rng.integers(0, len(x), rows)].copy()
    feature, threshold = (ensemble.nodes[n].to_numpy() for n in ("feature", "threshold"))
    for j in range(x.shape[1]):
        limits = threshold[feature == j]
        if not len(limits):
            continue
        limit = rng.choice(limits, rows)
        single = limit.astype(np.float32)
        near = [
            limit,
            np.nextafter(limit, np.inf),
            np.nextafter(limit, -np.inf),
            single.astype(np.float64),
            np.nextafter(single, np.float32(np.inf)).astype(np.float64),
            np.nextafter(single, np.float32(-np.inf)).astype(np.float64),
            x[:, j],
        ]
        x[:, j] = np.choose(rng.integers(0, len(near), rows), near)
    return x


@pytest.mark.parametrize("name", ALGORITHMS)
def test_tables_score_as_scikit_learn_does(name: str) -> None:
    ensemble, expected = fitted(name)
    x, _ = sample(5000, seed=7)
    assert np.abs(ensemble.risk(x) - expected(x)).max() < 1e-9


@pytest.mark.parametrize("name", ALGORITHMS)
def test_values_exactly_on_a_threshold_go_the_same_way(name: str) -> None:
    ensemble, expected = fitted(name)
    x = on_thresholds(ensemble, sample()[0])
    assert np.abs(ensemble.risk(x) - expected(x)).max() < 1e-9


@pytest.mark.parametrize("name", ALGORITHMS)
def test_tables_survive_a_round_trip(name: str) -> None:
    ensemble, _ = fitted(name)
    x, _ = sample(100, seed=3)
    again = Ensemble.from_table(ensemble.to_table())
    assert again.features == FEATURES
    assert np.array_equal(again.risk(x), ensemble.risk(x))


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name != "random_forest"])
def test_inner_values_are_the_mean_of_their_children_by_count(name: str) -> None:
    """What path attribution stands on: steps down a path add up to the leaf."""
    nodes = fitted(name)[0].nodes.to_pandas()
    for _, tree in nodes.groupby("tree"):
        tree = tree.set_index("node")  # noqa: PLW2901
        inner = tree[tree["left"] >= 0]
        left, right = tree.loc[inner["left"]], tree.loc[inner["right"]]
        total = left["count"].to_numpy() + right["count"].to_numpy()
        mean = (left["value"] * left["count"]).to_numpy() + (right["value"] * right["count"]).to_numpy()
        assert np.allclose(inner["value"], mean / total)
        assert np.array_equal(inner["count"], total)


def test_inner_values_of_a_forest_are_its_own() -> None:
    """Rows weigh by class and were drawn repeatedly, which the number of different ones does not show."""
    x, y = sample()
    wood = RandomForestClassifier(20, max_depth=8, class_weight="balanced", random_state=0).fit(x, y)
    ours = from_random_forest(wood, FEATURES).nodes.to_pandas()
    for (_, table), tree in zip(ours.groupby("tree"), wood.estimators_, strict=True):
        own = tree.tree_.value[:, 0, 1] / tree.tree_.value[:, 0, :].sum(axis=1)
        # scikit-learn's nodes are in the same order: depth first, the left child before the right one.
        np.testing.assert_allclose(table["value"], own, rtol=0, atol=1e-12)


@given(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30))
def test_a_moved_threshold_decides_as_float32_did(threshold: float, x: float) -> None:
    """Both for any value and for the neighbours of the moved threshold itself."""
    moved = float(double_threshold(np.array([threshold]))[0])
    for value in (x, moved, np.nextafter(moved, np.inf), threshold):
        assert (np.float64(np.float32(value)) <= threshold) == (value <= moved)


@given(st.floats(-10, 600), st.floats(-1e12, 1e12))
@settings(max_examples=300)
def test_an_undone_transform_decides_as_the_transform_did(limit: float, x: float) -> None:
    """For a function that is flat at first and then rises, to the last bit."""

    def rises(v: Any) -> Any:
        return np.log1p(np.maximum(v, 3.0))

    bound = float(undo(rises, np.array([limit]))[0])
    for value in (x, 3.0, bound, np.nextafter(bound, np.inf)):
        if np.isfinite(value):
            assert bool(rises(np.array([value]))[0] <= limit) == (value <= bound)


def test_a_transformed_isolation_forest_reads_raw_features() -> None:
    x, _ = sample()
    steps = [Side(60.0), Side(0.1), Side(0.0), Side(0.5, falls=True), Side(-0.5), Side(-0.2, falls=True)]
    bent = np.column_stack([step(x[:, j]) for j, step in enumerate(steps)])
    forest = IsolationForest(n_estimators=30, random_state=1).fit(bent)
    ensemble = from_isolation_forest(forest, FEATURES, steps)
    z = on_thresholds(ensemble, x)
    expected = -forest.score_samples(np.column_stack([step(z[:, j]) for j, step in enumerate(steps)]))
    assert np.abs(ensemble.risk(z) - expected).max() < 1e-9


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_by_name(value: float) -> None:
    ensemble, _ = fitted("random_forest")
    x = sample(10)[0]
    x[4, 1] = value
    with pytest.raises(InputError, match=r"Feature share is .* in row 4"):
        ensemble.risk(x)


def test_rows_of_the_wrong_width_are_refused() -> None:
    with pytest.raises(InputError, match="6 features"):
        fitted("random_forest")[0].risk(np.zeros((3, 5)))


@pytest.mark.parametrize(
    ("column", "node", "value"),
    [("left", 0, 0), ("right", 0, 10**6), ("feature", 0, 99), ("value", 1, np.nan), ("node", 0, 1)],
)
def test_tables_that_contradict_themselves_are_refused(column: str, node: int, value: float) -> None:
    """A loop, a child or a feature that does not exist: never an endless walk or a stray read."""
    table = fitted("random_forest")[0].to_table()
    values = table[column].to_numpy().copy()
    values[node] = value
    field = table.schema.field(column)
    broken = table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type))
    with pytest.raises(InputError):
        Ensemble.from_table(broken)


def test_a_table_of_something_else_is_refused() -> None:
    with pytest.raises(InputError, match="not tree tables"):
        Ensemble.from_table(pa.table({"a": [1]}))


def test_links_end_in_zero_and_one_and_never_overflow() -> None:
    extreme = np.array([-1e308, -800.0, -1.0, 0.0, 1.0, 800.0, 1e308])
    sigmoid = Link("sigmoid").risk(extreme)
    assert sigmoid[0] == 0.0
    assert sigmoid[3] == 0.5
    assert sigmoid[-1] == 1.0
    assert np.all(np.diff(sigmoid) >= 0)
    assert Link("isolation", 10.0).risk(np.array([0.0, 10.0])).tolist() == [1.0, 0.5]
    assert Link("identity").risk(np.array([1 + 2e-16, -1e-17])).tolist() == [1.0, 0.0]
