"""What all benchmarks share: options, figures as ratios, the machine, a table and a JSON document.

A figure stands beside another one that was measured in the same run, in turns with it. Only such ratios mean something on
a shared machine; CPU time (of all processes that took part) says the same with less noise than the clock.
"""

import argparse
import json
import os
import platform
import signal
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

VERSIONS = (
    "confluent-kafka", "fraudstream", "msgspec", "numpy", "pandas", "pgpq", "psycopg", "pyarrow", "pyspark", "scikit-learn",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One figure beside another one, and how they compare."""

    what: str
    value: float
    unit: str
    against: str = ""
    other: float | None = None
    ratio: float | None = None
    """How many times better `value` is than `other`; below 1, worse."""
    goal: str = ""
    met: bool | None = None
    note: str = ""


def beside(  # noqa: PLR0913 - a line's columns
    what: str,
    values: Iterable[float],
    unit: str,
    against: str,
    others: Iterable[float],
    *,
    less_is_better: bool = False,
    at_least: float | None = None,
    or_value: float | None = None,
    note: str = "",
) -> Line:
    """A line from rounds of both: medians, and the median of the rounds' ratios.

    `at_least` is the goal for that; a value of `or_value` or more will do as well.
    """
    pairs = list(zip(values, others, strict=True))
    ratio = statistics.median(b / a if less_is_better else a / b for a, b in pairs)
    value = statistics.median(a for a, _ in pairs)
    enough = "" if or_value is None else f", or {or_value:,.0f}"
    return Line(
        what, value, unit, against, statistics.median(b for _, b in pairs), ratio,
        "" if at_least is None else f"≥ {at_least:g} times{enough}",
        None if at_least is None else ratio >= at_least or (or_value is not None and value >= or_value),
        note,
    )  # fmt: skip


def alone(  # noqa: PLR0913 - a line's columns
    what: str,
    value: float,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    note: str = "",
) -> Line:
    """A line that has nothing beside it but, perhaps, a limit."""
    if at_most is not None:
        return Line(what, value, unit, goal=f"≤ {at_most:g}", met=value <= at_most, note=note)
    if at_least is not None:
        return Line(what, value, unit, goal=f"≥ {at_least:,.0f}", met=value >= at_least, note=note)
    return Line(what, value, unit, note=note)


def in_turns(ways: Mapping[str, Callable[[], T]], rounds: int, *, unmeasured: int = 0) -> dict[str, list[T]]:
    """What each way returned in each round, without those `unmeasured` ones that come first and warm up.

    The ways alternate, so that whatever else the machine does meets all, and each round begins with another one: what comes
    first finds the caches of the last, and the machine as the pause before it left it.
    """
    found: dict[str, list[T]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(-unmeasured, rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            returned = ways[name]()
            if number >= 0:
                found[name].append(returned)
    return found


def options(description: str | None, **defaults: int) -> argparse.Namespace:
    """The command line of a benchmark: `--quick`, `--json`, and a whole number for each of `defaults`.

    SIGTERM ends it as Ctrl-C does from here on: with the streams that it started, and the database that it made.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: does it run, roughly")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, help=f"instead of {default:,}")
    chosen = parser.parse_args()
    for name, default in defaults.items():
        if getattr(chosen, name) is None:
            quick = 1 if name == "rounds" else max(default // 10, 1)
            setattr(chosen, name, quick if chosen.quick else default)
    return chosen


def report(name: str, lines: list[Line], chosen: argparse.Namespace, **details: Any) -> None:
    """Print what was measured."""
    if chosen.json:
        document = {"benchmark": name, "lines": [asdict(line) for line in lines], **details}
        print(json.dumps({**document, "quick": chosen.quick, **machine()}, indent=2))
        return
    print(table(lines))
    print(about(machine()))


def table(lines: Iterable[Line]) -> str:
    """Lines in columns."""
    head = ("figure", "measured", "beside", "measured", "ratio", "goal")
    rows = [head, *map(_cells, lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    right = (1, 3, 4)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _cells(line: Line) -> tuple[str, ...]:
    return (
        line.what,
        f"{_number(line.value)} {line.unit}",
        line.against,
        "" if line.other is None else f"{_number(line.other)} {line.unit}",
        "" if line.ratio is None else f"{line.ratio:.2f}",
        " ".join(filter(None, (line.goal, {True: "met", False: "MISSED", None: ""}[line.met], line.note))),
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    """Where and with what it was measured."""
    return {
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "system": platform.platform(),
            "load_1_min": round(os.getloadavg()[0], 1),
        },
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in VERSIONS}},
    }


def about(found: Mapping[str, Any]) -> str:
    """The same in two lines."""
    return "\n".join(
        ", ".join(f"{name} {value}" for name, value in found[part].items())
        for part in ("machine", "versions")
    )


def _processor() -> str:
    try:
        cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in cpu.splitlines() if line.startswith("model name")), ""
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
