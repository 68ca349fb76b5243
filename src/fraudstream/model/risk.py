"""The checked risk of a model: an estimator may be a user's own."""

from typing import TYPE_CHECKING

import numpy as np

from fraudstream.arrays import Floats
from fraudstream.errors import FraudstreamError, InputError
from fraudstream.model.trees import Ensemble

if TYPE_CHECKING:
    from fraudstream.model.algorithms import Estimator


REPAIR = "Fix the method `{}` of the estimator, then train again. `fraudstream --debug train …` shows where it failed."


def checked_risk(judge: "Estimator | Ensemble", values: Floats, name: str) -> Floats:
    """Risk (n,) of rows (n, features). Raises InputError, whose sentence begins with `name`, if there is none."""
    if not len(values):
        return np.zeros(0)
    hint = REPAIR.format("risk")
    try:
        risk = np.asarray(judge.risk(values), dtype=np.float64)
    except FraudstreamError:
        raise
    except Exception as error:  # it may be a user's own code, which may raise anything
        raise InputError(
            f"{name} could not give risks: {type(error).__name__}: {error}", hint=hint
        ) from error
    wrong = ""
    if risk.shape != (len(values),):
        wrong = f"an array of shape {risk.shape} for {len(values)} rows"
    elif not (valid := (risk >= 0) & (risk <= 1)).all():
        wrong = f"{risk[~valid][0]:g} for a row"
    if wrong:
        raise InputError(
            f"{name} returned invalid risks: {wrong}. They must be one number from 0 to 1 per row.", hint=hint
        )
    return risk
