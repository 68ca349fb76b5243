"""When something that failed is tried again, and which of its failures are news."""

import time


class Backoff:
    """A pause after each failure, doubled up to `longest` seconds until something succeeds."""

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self.reset()

    def reset(self) -> None:
        """Begin anew: the next failure is news, and is followed by the first pause."""
        self._pause, self._due_at = self._first, 0.0
        self._kind = ""

    @property
    def is_due(self) -> bool:
        """Whether the pause after the last failure is over."""
        return time.monotonic() >= self._due_at

    def failed(self, kind: str) -> bool:
        """Note a failure; returns whether it is of another kind than the last one, and should be logged.

        >>> disk = Backoff(2.0, 60.0)
        >>> disk.failed("OSError"), disk.failed("OSError"), disk.is_due
        (True, False, False)
        """
        is_news, self._kind = kind != self._kind, kind
        self._due_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, self._longest)
        return is_news
