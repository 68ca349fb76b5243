"""A history that does not fit into memory is refused with a way out."""

import pytest

from fraudstream.cli.inputs import refuse_too_many
from fraudstream.errors import InputError


def test_a_history_that_memory_cannot_hold_is_refused_before_it_is_read() -> None:
    with pytest.raises(
        InputError, match=r"About 50,000,000 transactions need 75 GB of memory, and 16.0 GB are free"
    ) as no:
        refuse_too_many(50_000_000, 16 * 10**9)
    assert "--data" in no.value.hint


def test_one_that_fits_is_read() -> None:
    refuse_too_many(10_000_000, 16 * 10**9)
