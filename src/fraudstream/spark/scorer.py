"""The live scorer's driver: it starts, watches and restarts queries; no messages pass through it."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from fraudstream import kafka as kafka_clients
from fraudstream.errors import BrokerUnreachable, FraudstreamError
from fraudstream.kafka import Topic
from fraudstream.logs import get_logger
from fraudstream.metrics import ScoreMonitor, Standing
from fraudstream.model.artifact import Model
from fraudstream.model.scoring import other_delay
from fraudstream.rules import Rule
from fraudstream.settings import PostgresSettings, ProfilesBy, Settings
from fraudstream.spark import recovery
from fraudstream.spark.answers import Answers, Tally
from fraudstream.spark.backoff import Backoff
from fraudstream.spark.first_job import run_first_job
from fraudstream.spark.keeper import TARGET, Keeper
from fraudstream.spark.live_query import Basis
from fraudstream.spark.mode import Mode
from fraudstream.spark.recovery import CURABLE, NotStarted, Patience, existing_topic
from fraudstream.spark.relay import Relay
from fraudstream.spark.scoring import Scoring
from fraudstream.store import offsets

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = get_logger("score")

POLL_SECONDS: Final = 0.1
NARRATE_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 2.0
"""Seconds before a failed hand-over is tried again; doubled after each consecutive failure."""
LONGEST_RETRY_SECONDS: Final = 60.0


@dataclass(slots=True)
class Summary:
    """What a scorer has done since it started."""

    mode: Mode
    model_version: str
    partitions: int
    answers: Tally = field(default_factory=Tally)
    handovers: int = 0
    restarts: int = 0
    interrupted: bool = False
    seconds: float = 0.0


class _Succession:
    """Has a relay hand over to queries with newer profiles; what fails meanwhile leaves the current query alone."""

    def __init__(self, relay: Relay, keeper: Keeper, monitor: ScoreMonitor) -> None:
        self._relay, self._keeper, self._monitor = relay, keeper, monitor
        # Each attempt reads all profiles again: a password file may be missing, or a disk full, for days.
        self._retry = Backoff(RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        self._asked, self._handovers = False, 0

    def look(self) -> bool:
        """Follow the queries; returns whether a batch ended. Raises what stopped the current one."""
        try:
            moved = self._relay.look()
        except NotStarted as error:
            self._postpone(error)
            return False
        if (
            self._relay.handovers > self._handovers
        ):  # not once a query is started: it may fail before it answers
            self._handovers = self._relay.handovers
            self._retry.reset()
        return moved

    def advance(self) -> None:
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
        self._monitor.lost(TARGET, error.message)
        if self._retry.failed(type(error.__cause__ or error).__name__):
            log.warning(
                "%s The current query continues, and a hand-over is tried again, at least every %.0f s. %s",
                error.message,
                LONGEST_RETRY_SECONDS,
                error.hint,
            )
        log.debug("no hand-over", exc_info=error)


class Scorer:
    """Answers every message of the transactions topic with a decision or a refusal, at least once."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it decides by, and whom it tells
        self,
        spark: "SparkSession",
        settings: Settings,
        mode: Mode,
        model: Model,
        rules: Sequence[Rule] = (),
        monitor: ScoreMonitor | None = None,
    ) -> None:
        self._spark = spark
        self._settings = settings
        self._mode = mode
        self._model = model
        self._rules = rules
        self._monitor = monitor or ScoreMonitor()
        self._patience = Patience(settings.postgres.retry_seconds)
        self._long_batches = settings.score.trigger_seconds > settings.postgres.retry_seconds
        """Whether patience would end before a batch could: then answers count as progress, too."""
        self.ready = threading.Event()
        """Set once the first query answers: messages sent from then on are decided in milliseconds."""

    def run(
        self, stop: threading.Event, *, accept_loss: bool = False, from_beginning: bool = False
    ) -> Summary:
        """Score until `stop` is set.

        The first start on a topic begins with the next message, or, with `from_beginning`, with the first
        that the broker has; later ones resume after what was certainly answered. A lost
        PostgreSQL does not stop it; it waits for a lost broker, `postgres.retry_seconds` at
        most. Raises StreamError with Spark's reason, MessagesLost, DatabaseError, TopicError, InputError.
        """
        began = time.monotonic()
        topic = kafka_clients.ensure_topic(self._settings.kafka, self._settings.kafka.transactions_topic)
        scored = kafka_clients.ensure_topic(
            self._settings.kafka, self._settings.kafka.scored_topic, len(topic.partitions)
        )
        summary = Summary(self._mode, self._model.version, len(topic.partitions))
        start = self._begin(topic, accept_loss=accept_loss, from_beginning=from_beginning)
        keeper = Keeper(self._settings.postgres, self._ready, self._model, self._monitor.patience)
        warn_of_hindsight(self._settings.postgres, topic, start)
        warm_up = partial(keeper.basis.scoring.warm_up, keeper.basis.profiles)
        run_first_job(warm_up, self._spark.sparkContext.cancelAllJobs, stop)
        answers = Answers(self._settings.kafka, scored)
        self._monitor.begun(TARGET)
        try:
            self._go_on(topic, start, keeper, answers, summary, stop)
        finally:
            self._monitor.ended(TARGET)
            answers.close()
            keeper.close()
        summary.answers = answers.whole()
        summary.model_version = keeper.basis.scoring.model.version
        summary.interrupted = stop.is_set()
        summary.seconds = time.monotonic() - began
        return summary

    def _ready(self, model: Model) -> Scoring:
        if warning := other_delay(model.manifest, self._settings.model.label_delay_days):
            log.warning("%s", warning)
        ask = self._settings.postgres if self._settings.score.profiles is ProfilesBy.LOOKUP else None
        return Scoring(self._spark, model, self._rules, python=self._mode is Mode.MICROBATCH, ask=ask)

    def _begin(self, topic: Topic, *, accept_loss: bool, from_beginning: bool) -> dict[int, int]:
        """The start offset of each partition, from PostgreSQL."""
        stored = recovery.begin(
            self._settings.kafka,
            self._settings.postgres,
            topic,
            (TARGET,),
            command="fraudstream score",
            accept_loss=accept_loss,
            new="first" if from_beginning else "end",
        )
        return {partition: offset for (_, partition), offset in stored.items()}

    def _go_on(  # noqa: PLR0913, PLR0917 - the parts of a running scorer
        self,
        topic: Topic,
        start: Mapping[int, int],
        keeper: Keeper,
        answers: Answers,
        summary: Summary,
        stop: threading.Event,
    ) -> None:
        """Run relays until `stop` is set, each after the failure of the previous one."""
        while not stop.is_set():
            relay = Relay(self._spark, self._settings, self._mode, topic)
            try:
                relay.begin(keeper.basis, start)
                log.info(
                    "scoring %s with model %s on %d partitions; profiles %s",
                    topic.name,
                    keeper.basis.scoring.model.version,
                    len(start),
                    f"of {keeper.basis.profiles.taken_at:%H:%M:%S}"
                    if keeper.basis.scoring.lookup is None
                    else "looked up by each batch",
                )
                self._watch(relay, topic, keeper, answers, stop)
            except CURABLE as error:
                self._monitor.restarted(TARGET, error.message)
                found = self._patience.until(partial(self._where, topic, relay.reached or start), error, stop)
                if found is None:
                    break
                topic, start = found
                summary.restarts += 1
            finally:
                relay.stop()
                summary.handovers += relay.handovers

    def _where(self, before: Topic, reached: Mapping[int, int]) -> tuple[Topic, dict[int, int]]:
        """The topic as it is now, and its start offsets: where this scorer stopped, even if PostgreSQL is unavailable."""
        topic = existing_topic(self._settings.kafka, before.name)
        bounds = kafka_clients.bounds(self._settings.kafka, topic)
        start = {partition: reached.get(partition, bound.first) for partition, bound in bounds.items()}
        if topic.topic_id == before.topic_id and all(b.first <= start[p] <= b.end for p, b in bounds.items()):
            return topic, start
        return topic, self._begin(topic, accept_loss=False, from_beginning=False)

    def _watch(
        self, relay: Relay, topic: Topic, keeper: Keeper, answers: Answers, stop: threading.Event
    ) -> None:
        """Follow a relay, give it newer profiles and record its progress. Raises what stopped a query."""
        succession = _Succession(relay, keeper, self._monitor)
        standing = Standing(topic.name, relay.reached, relay.ends, 0.0)
        at, told = relay.current.began, time.monotonic()
        keeper.save(topic, standing)
        while not stop.wait(POLL_SECONDS):
            if not self.ready.is_set() and relay.current.answers:
                self.ready.set()
            if succession.look():
                self._patience.reward()
                seconds, at = max(time.monotonic() - at, POLL_SECONDS), time.monotonic()
                standing = standing.later(relay.reached, relay.ends, seconds)
                keeper.save(topic, standing)
                self._monitor.stands(TARGET, standing)
            succession.advance()
            if time.monotonic() - told >= NARRATE_SECONDS:
                told = time.monotonic()
                # Reported again: a batch may take longer than monitoring waits before it considers a stream dead.
                keeper.save(topic, replace(standing, ends=relay.ends))
                tally = answers.take_latest()
                if self._long_batches and (tally.decisions or tally.refused):
                    self._patience.reward()
                narrate(tally, NARRATE_SECONDS)
                latency = {share: tally.latencies.quantile(share) for share in (0.5, 0.95, 0.99)}
                self._monitor.answered(TARGET, tally.decisions, tally.flagged, tally.refused, latency)
                self._tell_profiles(keeper, relay.newest.basis)

    def _tell_profiles(self, keeper: Keeper, basis: Basis) -> None:
        """Tell the monitor which profiles current decisions use, which may be older than the keeper's."""
        if basis.scoring.lookup is None:
            self._monitor.judges_by(TARGET, basis.profiles.taken_at, stale=keeper.is_away)
        elif keeper.is_away:
            self._monitor.remark(TARGET, "PostgreSQL is unavailable: decisions wait for it.")
        else:
            self._monitor.judges_by(TARGET, datetime.now(UTC), stale=False)


def warn_of_hindsight(postgres: PostgresSettings, topic: Topic, start: Mapping[int, int]) -> None:
    """Warn if `consume` was ahead: a payment is left out of its own profiles, but later payments are not."""
    if count := offsets.taken_in(postgres, "profiles", topic, start):
        log.warning(
            "%s of the messages to be scored first were stored before they could be scored: each is compared with"
            " profiles that include later payments, so some decisions differ from live ones (docs/scoring.md).",
            f"{count:,}",
        )


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
