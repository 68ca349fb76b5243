"""What a model looks at, asked of models whose answer is known."""

import numpy as np
import pytest

from fraudstream.model.insight import insight


def sample(rows: int = 2000) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    return np.random.default_rng(1).random((rows, 3))


def test_a_feature_that_decides_alone_has_all_the_importance() -> None:
    """Risk is the second feature itself: the flagged ones have about 0.95 there, a usual one 0.5."""
    found = insight(lambda x: x[:, 1], sample(), 0.9, ("a", "b", "c"))
    assert next(iter(found["importance"])) == "b"
    assert found["importance"]["b"] == pytest.approx(0.45, abs=0.1)
    assert found["importance"]["a"] == found["importance"]["c"] == 0
    assert set(found["dependence"]) == {"b"}, "what the risk does not depend on is not drawn"


def test_dependence_is_the_mean_risk_where_all_take_one_value() -> None:
    """A sum of two features rises with one of them as that one does, from where the other leaves it."""
    x = sample()
    found = insight(lambda x: (x[:, 0] + x[:, 2]) / 2, x, 0.8, ("a", "b", "c"))
    curve = found["dependence"]["a"]
    rises = np.diff(curve["usual"]) / np.diff(curve["value"])
    assert rises == pytest.approx(np.full(len(rises), 0.5), abs=1e-3)
    assert np.array(curve["flagged"]) - np.array(curve["usual"]) == pytest.approx(
        np.full(len(curve["value"]), curve["flagged"][0] - curve["usual"][0]), abs=1e-4
    )
    assert curve["flagged"][0] > curve["usual"][0], "flagged transactions have more of the other feature"


def test_a_model_that_flags_nothing_is_asked_about_its_riskiest_row() -> None:
    found = insight(lambda x: x[:, 0] * 0.5, sample(), 0.9, ("a", "b", "c"))
    assert found["importance"]["a"] > 0.1


def test_a_constant_model_depends_on_nothing() -> None:
    found = insight(lambda x: np.full(len(x), 0.3), sample(10), 0.9, ("a", "b", "c"))
    assert found == {"importance": {"a": 0.0, "b": 0.0, "c": 0.0}, "dependence": {}}
