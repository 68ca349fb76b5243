"""CPU seconds of `fraudstream --help`: what everybody waits for first.

    python benchmarks/program.py [--rounds N] [--quick] [--json]

Needs no services.
"""

import os
import statistics
import subprocess
import sys

from measure import alone, options, report

LIMIT_SECONDS = 0.3


def cpu_seconds(*arguments: str) -> float:
    """User and system time of one run of the program."""
    before = os.times()
    subprocess.run([sys.executable, "-m", "fraudstream", *arguments], capture_output=True, check=True)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def main() -> None:
    chosen = options(__doc__, rounds=15)
    cpu_seconds("--help")  # fills the disk's cache, and Python's of compiled modules
    runs = [cpu_seconds("--help") for _ in range(chosen.rounds)]
    line = alone(
        "fraudstream --help, CPU",
        statistics.median(runs),
        "s",
        at_most=LIMIT_SECONDS,
        note=f"{min(runs):.2f} to {max(runs):.2f}",
    )
    report("program", [line], chosen, runs=runs)


if __name__ == "__main__":
    main()
