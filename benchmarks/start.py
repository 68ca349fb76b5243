"""Seconds and CPU seconds of a command that starts Spark, from the archive of Java's classes and without one.

    python benchmarks/start.py [--rounds N] [--quick] [--json]

Needs no services: `fraudstream rules check` reads the example rules.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from measure import beside, in_turns, options, report

from fraudstream.local import classes
from fraudstream.local.jars import spark_jars, spark_set
from fraudstream.local.java import find_java
from fraudstream.settings import load
from fraudstream.spark.session import own_jars

WRITTEN_SECONDS = 120
"""An archive is written in five seconds when the machine has nothing else to do."""


def start(home: Path, cache: Path) -> tuple[float, float]:
    """Seconds, and CPU seconds of all processes but the program's own, of one `rules check`."""
    environment = os.environ | {"FRAUDSTREAM_HOME": str(home), "FRAUDSTREAM_JARS": str(cache)}
    command = [sys.executable, "-m", "fraudstream", "rules", "check", str(home / "rules.yaml")]
    began, spent = time.perf_counter(), dict[int, float]()
    with psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            for child in process.children(recursive=True):
                with contextlib.suppress(psutil.Error):  # it has ended; what it had spent a moment ago stands
                    times = child.cpu_times()
                    spent[child.pid] = times.user + times.system
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        assert process.returncode == 0, process.stderr.read()
    return seconds, sum(spent.values())


def archived(cache: Path) -> bool:
    """Whether a Spark would start from an archive."""
    return bool(classes.options(cache, find_java().binary, own_jars(), write=False))


def main() -> None:
    chosen = options(__doc__, rounds=5)
    settings = load()
    spark_jars(settings)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        rules = [sys.executable, "-m", "fraudstream", "rules", "example"]
        (home / "rules.yaml").write_bytes(subprocess.run(rules, capture_output=True, check=True).stdout)
        with_archive, without = home / "with", home / "without"
        for cache in (with_archive, without):
            cache.mkdir()
            (cache / spark_set().name).symlink_to(settings.jar_cache / spark_set().name)
        (without / "classes").write_text("in the way of an archive")
        start(home, with_archive)
        began = time.monotonic()
        while not archived(with_archive):
            assert time.monotonic() - began < WRITTEN_SECONDS, "no archive was written"
            time.sleep(0.5)
        found = in_turns(
            {"with": lambda: start(home, with_archive), "without": lambda: start(home, without)},
            chosen.rounds,
        )
    lines = [
        beside(
            f"a command that starts Spark, {what}",
            [round_[part] for round_ in found["with"]],
            "s",
            "without an archive",
            [round_[part] for round_ in found["without"]],
            less_is_better=True,
        )
        for part, what in enumerate(("until it has ended", "CPU of Java"))
    ]
    report("start", lines, chosen)


if __name__ == "__main__":
    main()
