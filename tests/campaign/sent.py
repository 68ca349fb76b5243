"""Whether the topic holds what `produce` was told it holds.

An idempotent producer keeps the order of a partition, so whatever precedes a message that the topic holds was
acknowledged before it. `produce` numbers what it sends: below the least of the last numbers of all partitions no
number may be missing, whoever was killed, unless `produce` itself said that it was not delivered.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def missing(held: Iterable[tuple[int, str]], partitions: int) -> list[str]:
    """Ids (`run-number`) that must be among `held`, messages as (partition, id), and are not."""
    numbers: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for partition, name in held:
        run, _, number = name.rpartition("-")
        numbers[run][partition].add(int(number))
    found: list[str] = []
    for run, parts in numbers.items():
        if len(parts) == partitions:
            every = set().union(*parts.values())
            found += [f"{run}-{n:012d}" for n in range(min(map(max, parts.values()))) if n not in every]
    return found


def documents(file: Path) -> Iterator[dict[str, Any]]:
    """What the runs of a command printed with `--json`, one document after the other; a killed one printed none."""
    text = file.read_text() if file.exists() else ""
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        yield document
