"""Runs a user's own estimator in Spark's Python workers. A module of its own, as only it needs pandas."""

import io
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from fraudstream.arrays import Floats
from fraudstream.model import artifact
from fraudstream.model.algorithms import Estimator
from fraudstream.model.artifact import Model
from fraudstream.model.risk import checked_risk


def risk_of(model: Model) -> Column:
    """The risk from the model's estimator, given the columns of its features. Raises InputError like `Model.estimator`."""
    model.estimator()  # errors are raised here, not in a task
    name = f"Model {model.version}"
    pickled = model.files[artifact.ESTIMATOR]  # its checksum was checked when the model was opened

    def risks(batches: Iterator[pd.DataFrame]) -> Iterator[pd.Series]:
        estimator = _unpickled(pickled)
        for batch in batches:
            yield pd.Series(_of_whole(estimator, batch.to_numpy(dtype="float64"), name))

    in_python = pandas_udf(risks, "double")  # type: ignore[call-overload]
    risk: Column = in_python(F.struct(*map(F.col, model.features)))
    return risk


def _of_whole(estimator: Estimator, values: Floats, name: str) -> Floats:
    """The risk of each row, NaN if a feature is missing: messages that are not transactions pass through here, too.

    Raises InputError if the estimator returns an invalid risk, which would otherwise go into the topic of decisions.
    """
    whole = ~np.isnan(values).any(axis=1)
    risk = np.full(len(values), np.nan)
    risk[whole] = checked_risk(estimator, values[whole], name)
    return risk


@lru_cache(maxsize=2)
def _unpickled(pickled: bytes) -> Estimator:
    """The estimators of the current and the previous model, cached per worker: a small batch must not unpickle them again."""
    import joblib

    estimator: Estimator = joblib.load(io.BytesIO(pickled))
    return estimator
