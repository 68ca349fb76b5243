"""Every door that strangers' bytes come through: usual bytes, what a long search found, and some hundred mutants.

`make fuzz` searches for longer; what it finds goes to tests/fuzz/findings and is tried here ever after.
"""

from itertools import islice
from pathlib import Path
from random import Random

import pytest

from fuzz.mutate import mutants
from fuzz.targets import TARGETS

FINDINGS = Path(__file__).parents[1] / "fuzz" / "findings"
MUTANTS = 300


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_break_a_door(name: str) -> None:
    target = TARGETS[name]
    found = [path.read_bytes() for path in sorted((FINDINGS / name).glob("*"))]
    for data in [
        *target.seeds,
        *found,
        b"",
        *islice(mutants(target.seeds, target.words, Random(1)), MUTANTS),
    ]:
        target.check(data)
