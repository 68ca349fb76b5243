"""A history that does not fit into memory is refused with a way out."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from feature_world import world
from fraudstream.cli import inputs, memory
from fraudstream.cli.memory import available, refuse_too_many
from fraudstream.errors import InputError
from fraudstream.model.dataset import dataset


def test_a_history_that_memory_cannot_hold_is_refused_before_it_is_read() -> None:
    with pytest.raises(
        InputError, match=r"About 50,000,000 transactions need 100 GB of memory, and 16.0 GB are free"
    ) as no:
        refuse_too_many(50_000_000, 16 * 10**9, "Read less, with --since 90d")
    assert "--since 90d" in no.value.hint


def test_one_that_fits_is_read() -> None:
    refuse_too_many(8_000_000, 16 * 10**9, "Read less")


def test_a_file_that_memory_cannot_hold_is_refused_before_its_features_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system killed `train --data`, and nobody learned why."""
    path = tmp_path / "rows.csv"
    path.write_text("transaction_id,user_id,timestamp,amount\n" + "t,u,2026-01-01,5\n")
    monkeypatch.setattr(memory, "available", lambda _: 100)
    with pytest.raises(InputError, match="need 0 GB of memory") as no:
        inputs.transactions(path, None)
    assert no.value.hint.startswith("Give a file of the last months only, or use")


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 16_000),
        (
            {"memory.max": "max\n", "memory.current": "700\n", "memory.stat": "anon 1\ninactive_file 200\n"},
            16_000,
        ),
        (
            {"memory.max": "2000\n", "memory.current": "700\n", "memory.stat": "anon 1\ninactive_file 200\n"},
            1_500,
        ),
        ({"memory.max": "2000\n", "memory.current": "2100\n", "memory.stat": "inactive_file 0\n"}, 0),
        (
            {
                "memory/memory.limit_in_bytes": "2000\n",
                "memory/memory.usage_in_bytes": "700\n",
                "memory/memory.stat": "inactive_file 9\ntotal_inactive_file 200\n",
            },
            1_500,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "memory/memory.usage_in_bytes": "700\n",
                "memory/memory.stat": "total_inactive_file 0\n",
            },
            16_000,
        ),
    ],
    ids=["no cgroup", "no limit", "limit", "above the limit", "limit in v1", "no limit in v1"],
)
def test_a_container_may_have_less_memory_than_its_machine(
    files: dict[str, str], free: int, tmp_path: Path
) -> None:
    """The kernel kills at the container's limit, whatever the machine has."""
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert available(16_000, tmp_path) == free


def test_the_memory_of_this_machine_is_found() -> None:
    assert 0 < available(16_000) <= 16_000


@pytest.mark.parametrize("some", [slice(None), slice(0, 3)], ids=["all features", "three features"])
def test_only_the_features_that_a_model_reads_are_copied_and_only_once(some: slice) -> None:
    """All features of the rows were copied before the columns were chosen: half a gigabyte for a million of them."""
    data = dataset(world(20_000), 7)
    names, rows = data.names[some], data.micros < np.median(data.micros)
    tracemalloc.start()
    x = data.columns(names, rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(x, data.values[rows][:, : len(names)])
    assert peak < 1.3 * x.nbytes + 20 * len(data)
