"""An estimator of a user's own in Spark's Python workers. Apart from the rest, as it alone needs pandas."""

import io
from collections.abc import Iterator
from functools import lru_cache

import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812 - Spark's own custom
from pyspark.sql.pandas.functions import pandas_udf

from fraudstream.model import artifact
from fraudstream.model.algorithms import Estimator
from fraudstream.model.artifact import Model


def risk_of(model: Model) -> Column:
    """The risk that the model's estimator gives to the columns of its features. Raises InputError as `Model.estimator`."""
    model.estimator()  # what is wrong with it is said now, not by a task
    pickled = model.files[artifact.ESTIMATOR]  # its checksum matched when the model was opened

    def risks(batches: Iterator[pd.DataFrame]) -> Iterator[pd.Series]:
        estimator = _unpickled(pickled)
        for batch in batches:
            yield pd.Series(estimator.risk(batch.to_numpy(dtype="float64")), dtype="float64")

    in_python = pandas_udf(risks, "double")  # type: ignore[call-overload]
    risk: Column = in_python(F.struct(*map(F.col, model.features)))
    return risk


@lru_cache(maxsize=2)
def _unpickled(pickled: bytes) -> Estimator:
    """The estimator, once for each worker, of now and of the model before: a batch of a hundred rows must not unpickle it again."""
    import joblib

    estimator: Estimator = joblib.load(io.BytesIO(pickled))
    return estimator
