"""The checked risk of a model: an estimator may be a user's own."""

from typing import TYPE_CHECKING

import numpy as np

from fraudstream.arrays import Floats
from fraudstream.errors import FraudstreamError, InputError
from fraudstream.model.trees import Ensemble

if TYPE_CHECKING:
    from fraudstream.model.algorithms import Estimator


REPAIR = "Fix the estimator, then train again. `fraudstream --debug …` shows where it failed."


def is_own(judge: object) -> bool:
    """Whether it is a user's own code, and not fraudstream's."""
    return not type(judge).__module__.startswith("fraudstream.")


def checked_risk(judge: "Estimator | Ensemble", values: Floats, name: str) -> Floats:
    """Risk (n,) of rows (n, features).

    Raises InputError, whose sentence begins with `name`, if they are invalid, or if a user's own estimator fails.
    """
    if not len(values):
        return np.zeros(0)
    hint = REPAIR if is_own(judge) else ""
    try:
        risk = np.asarray(judge.risk(values), dtype=np.float64)
    except FraudstreamError:
        raise
    except (
        Exception
    ) as error:  # a user's own code may raise anything; ours, only what is a bug or the machine's
        if not hint:
            raise
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
