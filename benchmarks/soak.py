"""What a million decisions do to a scorer: its memory, and how late it is at the end beside the beginning.

`fraudstream score` in real time answers a steady stream; every trigger it hands over to newer profiles.

    python benchmarks/soak.py [--seconds S] [--trigger S] [--quick] [--json]

Needs Kafka and PostgreSQL, as score.py does.
"""

from statistics import median

import psutil
from measure import Line, options, report
from memory import Memory
from score import SHARES, Stopwatch, Way, prepare, scorer, scratch

RATE = 1000
"""Messages a second: a million in a quarter of an hour, with a core to spare."""
SLOWS_BY = 1.5
"""The median of the last tenth beside that of the second; a shared machine has slower minutes of its own."""


def tenths(late: list[float]) -> list[dict[str, float]]:
    """Quantiles of each tenth of the answers, in milliseconds."""
    size = max(len(late) // 10, 1)
    parts = [sorted(late[begin : begin + size]) for begin in range(0, size * 10, size)]
    return [{name: part[int((len(part) - 1) * share)] for name, share in SHARES.items()} for part in parts]


def main() -> None:
    chosen = options(__doc__, seconds=1000, trigger=10, history=50_000, warmup=30)
    chosen.trigger = max(chosen.trigger, 10)  # Spark takes no less than 5, also where it is --quick
    with scratch() as settings:
        bodies = prepare(settings, chosen.history)
        with scorer(settings, Way.REALTIME, chosen.trigger) as running:
            process = psutil.Process(running.process.pid)
            watch = Stopwatch(settings, bodies)
            watch.run(RATE, chosen.warmup)
            watch.forget()
            before = running.handovers
            with Memory(process) as memory:
                watch.run(RATE, chosen.seconds)
            watch.close()
            handed_over = running.handovers - before
        # In the order in which they were sent, whatever came back first.
        seen = tenths([watch.late[name] for name in watch.sent])
    early, last = seen[1]["p50"], seen[-1]["p50"]
    lines = [memory.line(name) for name in ("driver", "Java")]
    lines.append(
        Line(
            f"real time at {RATE}/s, p50 of the last tenth of {len(watch.sent):,}",
            last, "ms", "of its second tenth", early, early / last, f"≤ {SLOWS_BY:g} times", last / early <= SLOWS_BY,
            f"median p99 of the tenths {median(part['p99'] for part in seen):.0f} ms, {handed_over} hand-overs",
        )
    )  # fmt: skip
    report("soak", lines, chosen, tenths=seen, handovers=handed_over, memory_mib=memory.seen[::60])


if __name__ == "__main__":
    main()
