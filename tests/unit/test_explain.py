"""Path attribution: exactly additive, and what shap says where both must agree."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier

from fraudstream.errors import InputError
from fraudstream.model.extract import from_gradient_boosting, from_isolation_forest, from_random_forest
from fraudstream.model.trees import Ensemble
from fraudstream.reasons.contributions import contributions, raised
from model_world import sample

FEATURES = ("amount", "share", "flag", "a", "b", "c")
ALGORITHMS = ("isolation_forest", "random_forest", "gradient_boosting")
WEIGHTED = ("weighted forest", "weighted boosting")


def fitted(name: str, depth: int | None = None, features: int = len(FEATURES)) -> tuple[Ensemble, Any, Any]:
    """Trees of one algorithm, scikit-learn's own model, and rows; `depth` and `features` bound the trees."""
    x, y = sample()
    x, names = x[:, :features], FEATURES[:features]
    if name == "isolation_forest":
        forest = IsolationForest(n_estimators=40, max_samples=200, random_state=1).fit(x)
        return from_isolation_forest(forest, names), forest, x
    if name == "random_forest":
        # Without bootstrap the rows of a node are its weight, for shap as for us.
        wood = RandomForestClassifier(40, max_depth=depth or 7, bootstrap=False, random_state=1).fit(x, y)
        return from_random_forest(wood, names), wood, x
    if name == "weighted forest":
        wood = RandomForestClassifier(40, max_depth=depth or 7, random_state=1).fit(x, y, weights(y))
        return from_random_forest(wood, names), wood, x
    boosting = HistGradientBoostingClassifier(
        max_iter=40, max_depth=depth, max_leaf_nodes=8, learning_rate=0.1, l2_regularization=5, random_state=1
    )
    if name == "weighted boosting":
        boosting.fit(x, y, weights(y))
        return from_gradient_boosting(boosting, names, x[y == 1], 7.5), boosting, x
    boosting.fit(x, y)
    return from_gradient_boosting(boosting, names), boosting, x


def weights(y: Any) -> Any:
    """As of a training on every fraud and a part of the others."""
    return np.where(y == 1, 1.0, 7.5)


@pytest.mark.parametrize("name", [*ALGORITHMS, *WEIGHTED])
def test_base_and_contributions_add_up_to_the_value(name: str) -> None:
    """To rounding errors, for every row, more of them than are worked on at once."""
    ensemble, _, x = fitted(name)
    found = contributions(ensemble, x)
    assert found.shape == x.shape
    np.testing.assert_allclose(ensemble.base + found.sum(axis=1), ensemble.values(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_raises_is_positive(name: str) -> None:
    """Rows of a higher risk have a higher sum, whichever way the trees count."""
    ensemble, _, x = fitted(name)
    order = np.argsort(ensemble.risk(x), kind="stable")
    assert (np.diff(raised(ensemble, x).sum(axis=1)[order]) > -1e-9).all()


def test_a_feature_that_no_tree_asks_contributes_nothing() -> None:
    ensemble, _, x = fitted("random_forest", depth=1)
    unused = [j for j in range(len(FEATURES)) if j not in set(ensemble.nodes["feature"].to_pylist())]
    assert unused
    assert not contributions(ensemble, x)[:, unused].any()


def test_no_rows_have_no_contributions_and_a_value_that_is_none_is_refused() -> None:
    ensemble, _, x = fitted("gradient_boosting")
    assert contributions(ensemble, x[:0]).shape == (0, len(FEATURES))
    with pytest.raises(InputError, match="features must be finite"):
        contributions(ensemble, np.full((1, len(FEATURES)), np.nan))


def passed(tree: Any, x: Any, weight: Any) -> Any:
    """The weight of the rows that pass through each node of a tree."""
    found = np.zeros(len(tree))

    def walk(node: int, rows: Any) -> None:
        found[node] = weight[rows].sum()
        if tree["left"][node] >= 0:
            low = x[rows, tree["feature"][node]] <= tree["threshold"][node]
            walk(tree["left"][node], rows[low])
            walk(tree["right"][node], rows[~low])

    walk(0, np.arange(len(x)))
    return found


def shapley(ensemble: Ensemble, x: Any, learned: Any = None) -> tuple[float, Any]:
    """Shap's base and Shapley values (path-dependent) of our own tables: the same trees, to the last bit.

    `learned` are the training rows and their weights, if these are not all equal.
    """
    import shap

    scale = 1 / ensemble.trees if ensemble.combine == "mean" else 1.0
    tables = [
        {
            "children_left": tree["left"].to_numpy(),
            "children_right": tree["right"].to_numpy(),
            "children_default": tree["left"].to_numpy(),
            "features": tree["feature"].to_numpy(),
            "thresholds": tree["threshold"].to_numpy(),
            "values": tree["value"].to_numpy()[:, None] * scale,
            "node_sample_weight": passed(tree, *learned) if learned else tree["count"].to_numpy(dtype=float),
        }
        for tree in (one.reset_index() for _, one in ensemble.nodes.to_pandas().groupby("tree"))
    ]
    explainer = shap.TreeExplainer({"trees": tables}, feature_perturbation="tree_path_dependent")
    values = np.asarray(explainer.shap_values(x, check_additivity=False))
    return float(np.ravel(explainer.expected_value)[0]), values.reshape(x.shape)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_shap_has_the_same_base_and_total_and_ranks_the_features_alike(name: str) -> None:
    """Two ways to share out one difference: the totals are equal, the shares are close."""
    ensemble, _, x = fitted(name)
    base, values = shapley(ensemble, x[:300])
    assert base == pytest.approx(ensemble.base, abs=1e-9)
    ours = contributions(ensemble, x[:300])
    np.testing.assert_allclose(values.sum(axis=1), ours.sum(axis=1), rtol=0, atol=1e-9)
    alike = [spearmanr(a, b).statistic for a, b in zip(ours, values, strict=True)]
    assert np.mean(alike) > 0.75


@pytest.mark.parametrize(
    ("name", "depth", "features"),
    [*((name, None, 1) for name in ALGORITHMS), ("random_forest", 1, 6), ("gradient_boosting", 1, 6)],
)
def test_shap_agrees_exactly_where_nothing_is_to_be_shared(
    name: str, depth: int | None, features: int
) -> None:
    """With one split in a tree, or one feature in all of them, there is one way to attribute."""
    ensemble, _, x = fitted(name, depth, features)
    _, values = shapley(ensemble, x[:300])
    assert np.abs(values).max() > 1e-3
    np.testing.assert_allclose(contributions(ensemble, x[:300]), values, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("depth", "features"), [(None, 6), (None, 1), (1, 6)])
def test_shap_has_the_same_base_where_rows_of_boosting_weigh_differently(
    depth: int | None, features: int
) -> None:
    """Of every fraud and a part of the others, the average payment is hardly a fraud; and the shares are as above."""
    ensemble, _, x = fitted("weighted boosting", depth, features)
    weight = weights(sample()[1])
    base, values = shapley(ensemble, x[:300], (x, weight))
    assert base == pytest.approx(ensemble.base, abs=1e-9)
    assert base == pytest.approx(np.average(ensemble.values(x), weights=weight), abs=1e-9)
    if (depth, features) != (None, 6):
        np.testing.assert_allclose(contributions(ensemble, x[:300]), values, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("depth", "features"), [(None, 1), (1, 6)])
def test_shap_agrees_exactly_with_a_forest_of_weighted_rows_drawn_repeatedly(
    depth: int | None, features: int
) -> None:
    """From scikit-learn's own trees, which know what weight passed through each node."""
    import shap

    ensemble, model, x = fitted("weighted forest", depth, features)
    explainer = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
    values = np.asarray(explainer.shap_values(x[:300]))[:, :, 1]
    assert np.abs(values).max() > 1e-3
    np.testing.assert_allclose(contributions(ensemble, x[:300]), values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["random_forest", "weighted forest", "gradient_boosting"])
def test_shap_finds_the_same_total_in_the_model_of_scikit_learn(name: str) -> None:
    """From scikit-learn's own trees, which shap reads by itself: our tables are not in between."""
    import shap

    ensemble, model, x = fitted(name)
    explainer = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
    values, base = np.asarray(explainer.shap_values(x[:300])), np.ravel(explainer.expected_value)[-1]
    if values.ndim == 3:  # one sheet for each class; the last one is fraud
        values = values[:, :, -1]
    assert base == pytest.approx(ensemble.base, abs=1e-6)
    ours = contributions(ensemble, x[:300]).sum(axis=1)
    np.testing.assert_allclose(values.sum(axis=1), ours, rtol=0, atol=1e-6)
