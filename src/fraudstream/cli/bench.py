"""`fraudstream bench`: the project's own benchmarks, which are in the repository only."""

import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fraudstream.cli.output import Json
from fraudstream.errors import FraudstreamError, UsageError

CHECKOUT = Path(__file__).parents[3]


class NoBenchmarks(FraudstreamError):
    """An installed package has no benchmarks."""

    code = "no_benchmarks"

    def __init__(self, looked: Path) -> None:
        super().__init__(
            f"There are no benchmarks in {looked}: they are part of the repository, not of the package.",
            hint="In a clone of the repository: `make bench`.",
        )


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Which benchmarks; default: all.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A tenth of the work, to check that everything runs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the benchmarks: this program against its alternatives, on this machine."""
    folder = CHECKOUT / "benchmarks"
    if not (folder / "__main__.py").is_file():
        raise NoBenchmarks(folder)
    _refuse_unknown(names or [], runpy.run_path(str(folder / "names.py"))["NAMES"])
    command = [sys.executable, str(folder), *(names or [])]
    if quick:
        command.append("--quick")
    if as_json:
        command.append("--json")
    # Replaces this process: Ctrl-C and SIGTERM then reach the run itself, which stops what it started.
    os.execv(sys.executable, command)  # noqa: S606 - our own program


def _refuse_unknown(names: Sequence[str], known: Sequence[str]) -> None:
    if unknown := sorted(set(names) - set(known)):
        raise UsageError(
            f"There is no benchmark {', '.join(unknown)}.", hint=f"Available: {', '.join(known)}."
        )
