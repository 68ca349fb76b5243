"""Whether two tables of profiles are the same, for every test that works them out in two ways."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa


def assert_same(found: pa.Table, expected: pa.Table, numbers: Iterable[str], least: float = 1e-90) -> None:
    """The same keys with the same times, and these numbers to nine digits.

    Those below `least` are nothing, as the database keeps no number as small as 1e-90.
    """
    for name in ("entity", "key", "last_at"):
        assert found[name].to_pylist() == expected[name].to_pylist()
    for name in numbers:
        np.testing.assert_allclose(
            found[name].to_numpy(), expected[name].to_numpy(), rtol=1e-9, atol=least, err_msg=name
        )
