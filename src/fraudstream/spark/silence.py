"""How long PostgreSQL leaves a question unanswered: noted by the thread that asks, read by one that watches it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Silence:
    """The time since the last sign of life, while a question is asked."""

    def __init__(self) -> None:
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """How long nothing has been heard; 0 while nothing is asked."""
        since = self._since  # read once: the other thread may get its answer
        return 0.0 if since is None else time.monotonic() - since

    @contextmanager
    def while_asking(self) -> Iterator[None]:
        """Note that PostgreSQL is asked, and owes an answer until the end of the block."""
        self.heard()
        try:
            yield
        finally:
            self._since = None

    def heard(self) -> None:
        """Note a sign of life, such as a part of the answer."""
        self._since = time.monotonic()
