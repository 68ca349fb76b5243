"""An estimator of a user's own in Spark's Python workers. Apart from the rest, as it alone needs pandas."""

import io
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812 - Spark's own custom
from pyspark.sql.pandas.functions import pandas_udf

from fraudstream.model import artifact
from fraudstream.model.algorithms import Estimator
from fraudstream.model.artifact import Model
from fraudstream.model.risk import checked_risk

if TYPE_CHECKING:
    from numpy.typing import NDArray


def risk_of(model: Model) -> Column:
    """The risk that the model's estimator gives to the columns of its features. Raises InputError as `Model.estimator`."""
    model.estimator()  # what is wrong with it is said now, not by a task
    name = f"Model {model.version}"
    pickled = model.files[artifact.ESTIMATOR]  # its checksum matched when the model was opened

    def risks(batches: Iterator[pd.DataFrame]) -> Iterator[pd.Series]:
        estimator = _unpickled(pickled)
        for batch in batches:
            yield pd.Series(_of_whole(estimator, batch.to_numpy(dtype="float64"), name))

    in_python = pandas_udf(risks, "double")  # type: ignore[call-overload]
    risk: Column = in_python(F.struct(*map(F.col, model.features)))
    return risk


def _of_whole(estimator: Estimator, values: "NDArray[np.float64]", name: str) -> "NDArray[np.float64]":
    """The risk of each row, NaN where a feature is missing: messages that are no transactions come by here, too.

    Raises InputError where the estimator gives no risk, as what it gave would else go into the topic of decisions.
    """
    whole = ~np.isnan(values).any(axis=1)
    risk = np.full(len(values), np.nan)
    risk[whole] = checked_risk(estimator, values[whole], name)
    return risk


@lru_cache(maxsize=2)
def _unpickled(pickled: bytes) -> Estimator:
    """The estimator, once for each worker, of now and of the model before: a batch of a hundred rows must not unpickle it again."""
    import joblib

    estimator: Estimator = joblib.load(io.BytesIO(pickled))
    return estimator
