"""How much memory a stream takes while it runs, and whether that grows."""

import contextlib
import statistics
import threading
from collections import defaultdict
from typing import Self

import psutil
from measure import Line
from stage import part

GROWS_BY = 1.1
"""Memory at the end beside that half way: what is above is no longer flat."""


class Memory:
    """Megabytes of the driver `root`, of its JVM and of its Python workers, twice a second.

    Of the workers the proportional size: what they share since they were forked counts once.
    """

    def __init__(self, root: psutil.Process) -> None:
        self._root = root
        self.seen: list[dict[str, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.5):
            found = defaultdict[str, float](float)
            for process in (self._root, *self._root.children(recursive=True)):
                with contextlib.suppress(psutil.Error):  # it ended while we looked
                    found[part(process)] += process.memory_full_info().pss / 2**20
            self.seen.append(dict(found))

    def line(self, name: str) -> Line:
        """The median of the last tenth beside that of the middle: what is loaded and cached is there by then."""
        values = [found[name] for found in self.seen if name in found]  # workers begin with the first batch
        middle, tenth = len(values) // 2, max(len(values) // 10, 1)
        before = statistics.median(values[middle : middle + tenth])
        after = statistics.median(values[-tenth:])
        return Line(
            f"memory, {name}", after, "MiB", "half way", before, before / after,
            f"grows by less than {GROWS_BY - 1:.0%}", after / before < GROWS_BY, f"largest {max(values):,.0f} MiB",
        )  # fmt: skip
