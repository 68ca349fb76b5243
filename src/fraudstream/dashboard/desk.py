"""A reviewer's place in the queue: which alert is open, which come next, and for which one a verdict was meant.

One object in the session, changed without looking at the session: where another press waits, Streamlit ends a callback
at its next such look, and of a verdict the label would be written while its alert stayed open for a second one.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

PAUSE = 1.0
"""Seconds after a verdict, and after the next alert has come to the screen, in which no other one counts: nobody has read it
by then. What comes within the pause begins it anew, so that a key that is held down (its first repetition comes after 0.25 to
0.7 s) judges one alert where a browser runs no scripts of ours, too."""


@dataclass(frozen=True, slots=True)
class Said:
    """What became of the last verdict."""

    transaction_id: str
    words: str
    is_saved: bool


@dataclass
class Desk:
    """What a reviewer has in front of them."""

    chosen: str | None = None
    """The alert that is open."""
    said: Said | None = None
    is_hasty: bool = False
    """Whether a verdict on the open alert was ignored, as it came within the pause."""
    clock: Callable[[], float] = time.monotonic
    _order: Sequence[str] = ()
    """The queue as it was when the open alert last stood in it: a colleague may take it away."""
    _ahead: Sequence[str] = ()
    _attempted: float = float("-inf")
    _is_to_come: bool = False
    """Whether the open alert comes after a verdict, by itself, and is not on the screen yet."""

    def open(self, transaction_id: str) -> None:
        """Open the alert that was asked for, whether or not it is in the queue."""
        self.chosen, self.is_hasty = transaction_id, False

    def settle(self, queue: Sequence[str]) -> str | None:
        """The alert that is open over this queue; where one was left, the first that followed it and is still there."""
        if self.chosen is None:
            there = set(queue)
            self.chosen = next((name for name in self._ahead if name in there), queue[0] if queue else None)
        if self.chosen in queue:
            self._order = queue
        return self.chosen

    def forward(self) -> None:
        """Leave the open alert for the one after it; at the end for the first of the queue."""
        self._leave(self._beside()[1])
        self._is_to_come = True

    def step(self, by: int) -> None:
        """Leave the open alert for a neighbour; where there is none, stay while the queue has it."""
        before, after = self._beside()
        ahead = after if by > 0 else before
        self._leave([*ahead, self.chosen] if self.chosen else ahead)

    def _beside(self) -> tuple[list[str], list[str]]:
        """What stands before the open alert and after it, the nearest first."""
        order = [*self._order]
        if self.chosen not in order:
            return [], order
        place = order.index(self.chosen)
        return order[:place][::-1], order[place + 1 :]

    def _leave(self, ahead: Sequence[str]) -> None:
        self._ahead, self.chosen, self.is_hasty = ahead, None, False

    def shown(self) -> None:
        """Take note that the open alert is on its way to the screen."""
        if self._is_to_come:
            self._attempted, self._is_to_come = self.clock(), False

    def takes(self, transaction_id: str) -> bool:
        """Whether a verdict on this alert counts: it is open, and neither came nor was judged within the pause."""
        now = self.clock()
        waited = now - self._attempted >= PAUSE
        self._attempted = now
        is_open = transaction_id == self.chosen
        self.is_hasty = is_open and not waited
        return is_open and waited


def desk() -> Desk:
    """That of this session."""
    found: Desk = st.session_state.setdefault("desk", Desk())
    return found
