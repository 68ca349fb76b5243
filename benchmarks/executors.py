"""Rows a second of `consume` on a Spark standalone cluster with one executor of one core, and with two.

A master and two workers of one core each run on this machine, beside the broker and PostgreSQL: with two cores in all, the second
executor finds them half taken. Its ratio is what growth leaves when nothing but executors is added.

    python benchmarks/executors.py [--count N] [--rounds N] [--quick] [--json]

Needs Kafka and PostgreSQL, as consume.py does.
"""

import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

import programs
from measure import beside, in_turns, options, report
from stage import fill, scratch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fraudstream.settings import Settings
from spark_cluster import cluster

SIDES = {"tables": "consume tables", "all": "consume all"}


def pace(settings: Settings, master: str, side: str, executors: int, count: int) -> float:
    """Steady rows a second of the program with so many executors."""
    place = {"FRAUDSTREAM_SPARK__MASTER": master, "FRAUDSTREAM_SPARK__CORES_MAX": str(executors)}
    with mock.patch.dict(os.environ, place):
        return programs.steady(settings, [side], count)


def main() -> None:
    chosen = options(__doc__, count=600_000, rounds=3)
    lines = []
    with scratch() as settings, tempfile.TemporaryDirectory(prefix="fraudstream-cluster-") as home:
        fill(settings, chosen.count)
        with cluster(Path(home), workers=2, cores=1) as started:
            for side, what in SIDES.items():
                ways = {n: partial(pace, settings, started.master, side, n, chosen.count) for n in (1, 2)}
                found = in_turns({f"{n} executors": way for n, way in ways.items()}, chosen.rounds)
                one, two = found.values()
                lines.append(beside(f"{what}, 2 executors of a core", two, "rows/s", "1 executor", one))
    report("executors", lines, chosen, count=chosen.count)


if __name__ == "__main__":
    main()
