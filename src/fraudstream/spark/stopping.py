"""How a query that is stopped ends: with the batch that it was storing."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from fraudstream.errors import StreamError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

FINISH_SECONDS: Final = 10.0
"""How long a stop waits for a batch: with the rest of the command it must end before a supervisor kills it, after 30 s."""


class UntilStopped:
    """Stores the batches of a query. Once a stop was requested, the current one is the last one.

    Spark itself would cancel it: what its tasks had committed by then would be stored, but not counted.
    """

    def __init__(self, store: Callable[["DataFrame", int], None], stop: threading.Event) -> None:
        self._store, self._stop = store, stop
        self._storing = threading.Lock()
        self.refused = False
        """Whether it was a stop that ended the query, by an exception in a batch that was not stored."""

    def __call__(self, batch: "DataFrame", number: int) -> None:
        """Called by Spark; an exception stops the query. To return would mean that the batch is stored."""
        with self._storing:
            if self._stop.is_set():
                self.refused = True
                raise StreamError("A stop was requested.")
            self._store(batch, number)

    def finish(self) -> None:
        """If a stop was requested, wait for the current batch, if there is one."""
        if self._stop.is_set() and self._storing.acquire(timeout=FINISH_SECONDS):
            self._storing.release()
