"""Messages decoded in a second: by columns, as messages that look alike are, and each by itself.

    python benchmarks/decode.py [--count N] [--rounds N] [--quick] [--json]

From bytes to rows of Arrow in one process; CPU time, as other processes share the machine. Needs no services.
"""

import time
from collections.abc import Callable
from functools import partial

import pyarrow as pa
from measure import beside, in_turns, options, report
from stage import messages

from fraudstream.decode import Decoded, Decoder, in_chunks
from fraudstream.kafka.reading import BLOCK


def rate(decode: Callable[[list[bytes]], Decoded], values: list[bytes]) -> float:
    """Messages a second, in blocks as a task reads them."""
    began = time.process_time()
    for start in range(0, len(values), BLOCK):
        decoded = decode(values[start : start + BLOCK])
        assert not decoded.rejects
    return len(values) / (time.process_time() - began)


def main() -> None:
    chosen = options(__doc__, count=400_000, rounds=5)
    pa.set_cpu_count(1)
    values, decoder = messages(chosen.count), Decoder()
    runs = in_turns(
        {
            "columns": partial(rate, decoder.decode, values),
            "each": partial(rate, lambda some: in_chunks(some, decoder.separately), values),
        },
        chosen.rounds,
    )
    lines = [
        beside("decode by columns", runs["columns"], "messages/s of CPU", "each by itself", runs["each"])
    ]
    report("decode", lines, chosen, count=chosen.count, runs=runs)


if __name__ == "__main__":
    main()
