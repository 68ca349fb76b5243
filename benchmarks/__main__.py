"""Every benchmark, one after the other: one table, and one JSON document.

    python benchmarks [NAME ...] [--quick] [--json]

Uses the Kafka and PostgreSQL that the settings name; where there are none, a pair of its own in a temporary directory.
`--quick` shows in a few minutes that everything runs; its figures mean little.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import Line, about, machine, table
from names import NAMES

from fraudstream.local import services
from fraudstream.settings import load

HERE = Path(__file__).parent


@contextmanager
def playground() -> Iterator[dict[str, str]]:
    """The environment of the benchmarks: with services, those in force or a pair that lives as long as the block."""
    settings = load()
    if settings.kafka.bootstrap_servers and settings.postgres.host:
        yield dict(os.environ)
        return
    with tempfile.TemporaryDirectory(prefix="fraudstream-bench-") as home:
        own = settings.model_copy(update={"home": Path(home), "jars": settings.jar_cache})
        try:
            services.up(own)
            yield os.environ | {"FRAUDSTREAM_HOME": home, "FRAUDSTREAM_JARS": str(settings.jar_cache)}
        finally:
            services.reset(own)


def run(name: str, environment: dict[str, str], *, quick: bool) -> dict[str, Any]:
    """The document of one benchmark, in a process of its own; what it says on stderr goes to ours."""
    command = [sys.executable, str(HERE / f"{name}.py"), "--json", *(["--quick"] if quick else [])]
    print(f"{name} …", file=sys.stderr, flush=True)
    # In a session of its own: Ctrl-C would reach it beside our signal, and a second one would meet it while it takes away
    # what it made. A signal and not a kill: the streams that it started would go on without it.
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        try:
            printed, _ = child.communicate()
        except KeyboardInterrupt:
            child.terminate()
            child.wait()
            raise
    if child.returncode:
        return {"benchmark": name, "failed": child.returncode, "lines": []}
    document: dict[str, Any] = json.loads(printed)
    return document


def main() -> int:
    """Run, print, and fail where a benchmark did."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; else all")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # as Ctrl-C: the services that we started must end
    with playground() as environment:
        documents = [run(name, environment, quick=chosen.quick) for name in chosen.names or NAMES]
    failed = [document["benchmark"] for document in documents if "failed" in document]
    if chosen.json:
        print(json.dumps({"benchmarks": documents, "failed": failed, **machine()}, indent=2))
    else:
        print(table(Line(**line) for document in documents for line in document.get("lines", [])))
        for document in documents:
            if "lines" not in document:  # its figures have a shape of their own
                print(json.dumps(document))
        print(about(machine()))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
