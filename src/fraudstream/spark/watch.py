"""Watches a relay for the scorer: records its progress, gives it newer profiles, and tells how it gets on."""

import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from fraudstream.kafka import Topic
from fraudstream.logs import get_logger
from fraudstream.metrics import ScoreMonitor, Standing
from fraudstream.spark.answers import Answers, Tally
from fraudstream.spark.keeper import TARGET, Keeper
from fraudstream.spark.live_query import Basis
from fraudstream.spark.recovery import Patience
from fraudstream.spark.relay import Relay
from fraudstream.spark.succession import Succession

log = get_logger("score")

POLL_SECONDS: Final = 0.1
NARRATE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a running scorer keeps from one relay to the next."""

    keeper: Keeper
    answers: Answers
    monitor: ScoreMonitor
    patience: Patience
    ready: threading.Event
    """Set once the first query answers."""
    long_batches: bool
    """Whether patience would end before a batch could: then answers count as progress, too."""


class Watch:
    """Follows a relay from its first query on, whose start it records."""

    def __init__(self, relay: Relay, topic: Topic, parts: Parts) -> None:
        self._relay, self._topic, self._parts = relay, topic, parts
        self._standing = Standing(topic.name, relay.reached, relay.ends, 0.0)
        self._moved_at, self._told_at = relay.current.began, time.monotonic()
        self._succession = Succession(relay, parts.keeper, parts.monitor)
        parts.keeper.save(topic, self._standing)

    def turn(self) -> None:
        """Do what is due; called every POLL_SECONDS. Raises what stopped a query."""
        self._advance()
        self._succession.renew()
        self._narrate()

    def _advance(self) -> None:
        """Record where the stream stands, once a batch has ended."""
        relay, parts = self._relay, self._parts
        if not parts.ready.is_set() and relay.current.answers:
            parts.ready.set()
        if self._succession.look():
            parts.patience.reward()
            seconds, self._moved_at = max(time.monotonic() - self._moved_at, POLL_SECONDS), time.monotonic()
            self._standing = self._standing.later(relay.reached, relay.ends, seconds)
            parts.keeper.save(self._topic, self._standing)
            parts.monitor.stands(TARGET, self._standing)

    def _narrate(self) -> None:
        """Tell log and monitor of the latest answers, every few seconds."""
        parts = self._parts
        if time.monotonic() - self._told_at < NARRATE_SECONDS:
            return
        self._told_at = time.monotonic()
        # Reported again: a batch may take longer than monitoring waits before it considers a stream dead.
        parts.keeper.save(self._topic, replace(self._standing, ends=self._relay.ends))
        tally = parts.answers.take_latest()
        if parts.long_batches and (tally.decisions or tally.refused):
            parts.patience.reward()
        narrate(tally, NARRATE_SECONDS)
        latency = {share: tally.latencies.quantile(share) for share in (0.5, 0.95, 0.99)}
        parts.monitor.answered(TARGET, tally.decisions, tally.flagged, tally.refused, latency)
        self._tell_profiles(self._relay.newest.basis)

    def _tell_profiles(self, basis: Basis) -> None:
        """Tell the monitor which profiles current decisions use, which may be older than the keeper's."""
        monitor, is_away = self._parts.monitor, self._parts.keeper.is_away
        if basis.scoring.lookup is None:
            monitor.judges_by(TARGET, basis.profiles.taken_at, stale=is_away)
        elif is_away:
            monitor.remark(TARGET, "PostgreSQL is unavailable: decisions wait for it.")
        else:
            monitor.judges_by(TARGET, datetime.now(UTC), stale=False)


def narrate(tally: Tally, seconds: float) -> None:
    """Log what was answered in the last `seconds`, if anything."""
    if not tally.decisions and not tally.refused:
        return
    p50, p99 = (tally.latencies.quantile(share) or 0.0 for share in (0.5, 0.99))
    log.info(
        "%s decisions, %s a second, p50 %.0f ms, p99 %.0f ms; %s flagged%s",
        f"{tally.decisions:,}",
        f"{tally.decisions / seconds:,.0f}",
        p50,
        p99,
        f"{tally.flagged:,}",
        f", {tally.refused:,} could not be read" if tally.refused else "",
    )
