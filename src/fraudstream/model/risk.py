"""The checked risk of a model: an estimator may be a user's own."""

from typing import TYPE_CHECKING

import numpy as np

from fraudstream.arrays import Floats
from fraudstream.errors import InputError
from fraudstream.model.trees import Ensemble

if TYPE_CHECKING:
    from fraudstream.model.algorithms import Estimator


def checked_risk(judge: "Estimator | Ensemble", values: Floats, name: str) -> Floats:
    """Risk (n,) of rows (n, features). Raises InputError, which names the model `name`, if it is invalid."""
    if not len(values):
        return np.zeros(0)
    risk = np.asarray(judge.risk(values), dtype=np.float64)
    if risk.shape != (len(values),) or not ((risk >= 0) & (risk <= 1)).all():
        raise InputError(
            f"{name} returned invalid risks: they must be one number from 0 to 1 per row.",
            hint="Fix the method `risk` of its estimator, then train it again.",
        )
    return risk
