"""Transactions that `score --data -` judges in a second: many lines at a time, and one by one.

    python benchmarks/score_file.py [--count N] [--rounds N] [--quick] [--json]

From bytes of NDJSON to bytes of NDJSON in one process, profiles in memory, a forest of 100 trees over every feature.
Needs no services.
"""

import io
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
from explain import forest
from measure import alone, beside, in_turns, options, report
from stage import messages

from fraudstream.model import artifact
from fraudstream.model.decisions import to_stream
from fraudstream.model.lines import MOST_LINES, LineReader
from fraudstream.model.scoring import FileScorer, needed_fields

SINGLE = 500
"""Lines that are judged one by one; more would only take longer."""


def model() -> artifact.Model:
    """The forest, as far as scoring reads it."""
    trees, _ = forest()
    sink = io.BytesIO()
    pq.write_table(trees.to_table(), sink)
    manifest = {"version": "bench", "features": list(trees.features), "threshold": 0.5}
    return artifact.Model(manifest, {artifact.TREES: sink.getvalue()})


def rate(judge: artifact.Model, values: list[bytes], step: int) -> float:
    """Lines a second, `step` at a time, from an empty memory; CPU time, as other processes share the machine."""
    scorer, reader = FileScorer(judge), LineReader(needed_fields(judge))
    numbered = list(enumerate(values, 1))
    with Path(os.devnull).open("wb") as nowhere:
        write = to_stream(nowhere)
        began = time.process_time()
        for start in range(0, len(numbered), step):
            found = reader.read(numbered[start : start + step])
            write(scorer.score_arrivals(found.rows, datetime.now(UTC)))
        return len(values) / (time.process_time() - began)


def main() -> None:
    chosen = options(__doc__, count=60_000, rounds=3)
    judge, values = model(), messages(max(chosen.count, SINGLE))
    runs = in_turns(
        {
            "many": lambda: rate(judge, values, MOST_LINES),
            "one": lambda: rate(judge, values[:SINGLE], 1),
        },
        chosen.rounds,
    )
    lines = [
        beside("score --data -", runs["many"], "lines/s", "one by one", runs["one"], note="of CPU time"),
        alone("a single line", 1_000 / max(runs["one"]), "ms", note="of CPU time"),
    ]
    report("score_file", lines, chosen, runs=runs)


if __name__ == "__main__":
    main()
