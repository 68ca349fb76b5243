"""A reviewer's place in the queue: which alert is open, which come next, and whether a verdict counts.

It is one object in the session, changed without reading the session: if another key press is waiting, Streamlit aborts
a callback at its next read, so the label would be written while its alert stayed open for a second verdict.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import streamlit as st

PAUSE = 1.0
"""Seconds after a verdict, and after the next alert appears on the screen, in which no other verdict counts: nobody has read
the alert by then. One within the pause restarts it, so that a held key (whose first repetition comes after 0.25 to 0.7 s)
labels only one alert even if the browser does not run our script."""


@dataclass(frozen=True, slots=True)
class Said:
    """The outcome of the last verdict."""

    transaction_id: str
    words: str
    is_saved: bool


@dataclass
class Desk:
    """The state of one reviewer's session."""

    chosen: str | None = None
    """The alert that is open."""
    said: Said | None = None
    is_hasty: bool = False
    """Whether a verdict on the open alert was ignored, as it came within the pause."""
    draft: str = ""
    """The note for the open alert as typed so far: Streamlit forgets it when a run draws no alert."""
    writing: threading.Lock = field(default_factory=threading.Lock)
    """Held while a verdict is written. A key pressed meanwhile is a second thread of Streamlit's for this session: it waits,
    or it would draw the page without the verdict, and that page would stay."""
    clock: Callable[[], float] = time.monotonic
    _order: Sequence[str] = ()
    """The last queue that contained the open alert, which a colleague's verdict may remove."""
    _ahead: Sequence[str] = ()
    _attempted: float = float("-inf")
    _is_to_come: bool = False
    """Whether the open alert was opened by a verdict and is not on the screen yet."""

    def open(self, transaction_id: str) -> None:
        """Open this alert, whether or not it is in the queue."""
        self.chosen, self.is_hasty, self.draft = transaction_id, False, ""

    def settle(self, queue: Sequence[str]) -> str | None:
        """The open alert, given this queue; if one was left, the first after it that is still there."""
        if self.chosen is None:
            there = set(queue)
            self.chosen = next((name for name in self._ahead if name in there), queue[0] if queue else None)
        if self.chosen in queue:
            self._order = queue
        return self.chosen

    def forward(self) -> None:
        """Leave the open alert for the one after it, or at the end for the first of the queue."""
        self._leave(self._beside()[1])
        self._is_to_come = True

    def step(self, by: int) -> None:
        """Leave the open alert for a neighbour; if there is none, stay while the queue has it."""
        before, after = self._beside()
        ahead = after if by > 0 else before
        self._leave([*ahead, self.chosen] if self.chosen else ahead)

    def _beside(self) -> tuple[list[str], list[str]]:
        """The alerts before and after the open one, the nearest first."""
        order = [*self._order]
        if self.chosen not in order:
            return [], order
        place = order.index(self.chosen)
        return order[:place][::-1], order[place + 1 :]

    def _leave(self, ahead: Sequence[str]) -> None:
        self._ahead, self.chosen, self.is_hasty, self.draft = ahead, None, False, ""

    def shown(self) -> None:
        """Note that the open alert is being drawn."""
        if self._is_to_come:
            self._attempted, self._is_to_come = self.clock(), False

    def takes(self, transaction_id: str) -> bool:
        """Whether a verdict on this alert counts: the alert is open, and the pause is over."""
        now = self.clock()
        waited = now - self._attempted >= PAUSE
        self._attempted = now
        is_open = transaction_id == self.chosen
        self.is_hasty = is_open and not waited
        return is_open and waited


def desk() -> Desk:
    """The desk of this session."""
    found: Desk = st.session_state.setdefault("desk", Desk())
    return found
