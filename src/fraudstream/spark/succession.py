"""Renews the basis of decisions: asks for newer profiles when it is time, and hands over to a query that has them."""

from typing import Final

from fraudstream.errors import BrokerUnreachable, FraudstreamError
from fraudstream.logs import get_logger
from fraudstream.metrics import ScoreMonitor
from fraudstream.spark.backoff import Backoff
from fraudstream.spark.failures import NotStarted
from fraudstream.spark.keeper import TARGET, Keeper
from fraudstream.spark.relay import Relay

log = get_logger("score")

RETRY_SECONDS: Final = 2.0
"""Seconds before a failed hand-over is tried again; doubled after each consecutive failure."""
LONGEST_RETRY_SECONDS: Final = 60.0


class Succession:
    """Has a relay hand over to queries with newer profiles; what fails meanwhile leaves the current query alone."""

    def __init__(self, relay: Relay, keeper: Keeper, monitor: ScoreMonitor) -> None:
        self._relay, self._keeper, self._monitor = relay, keeper, monitor
        # Each attempt reads all profiles again: a password file may be missing, or a disk full, for days.
        self._retry = Backoff(RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        self._asked, self._newest_at = False, 0.0

    def look(self) -> bool:
        """Follow the queries; returns whether a batch ended. Raises what stopped the current one."""
        try:
            moved = self._relay.look()
        except NotStarted as error:
            self._postpone(error)
            return False
        newest = self._relay.newest
        # Not when a successor is started: it may fail before it answers.
        if newest.began > self._newest_at and newest.answers:
            self._newest_at = newest.began
            self._retry.reset()
        return moved

    def renew(self) -> None:
        """Ask for newer profiles when it is time, and hand over once they are there."""
        basis = self._keeper.basis
        if not self._retry.is_due or not self._relay.is_due(basis):
            return
        if not self._asked and basis.scoring is self._relay.newest.basis.scoring:
            self._asked = True
            self._keeper.ask()
        elif not self._keeper.is_asked:
            self._asked = False
            try:
                self._relay.hand_over(self._keeper.basis)
            except (BrokerUnreachable, NotStarted) as error:
                self._postpone(error)

    def _postpone(self, error: FraudstreamError) -> None:
        # Whatever else it is, the current query decides, and nobody need be woken.
        if isinstance(error, BrokerUnreachable):
            self._monitor.lost(TARGET, error.message)
        if self._retry.failed(type(error.__cause__ or error).__name__):
            log.warning(
                "%s The current query continues, and a hand-over is tried again, at least every %.0f s. %s",
                error.message,
                LONGEST_RETRY_SECONDS,
                error.hint,
            )
        log.debug("no hand-over", exc_info=error)
