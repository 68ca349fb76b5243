"""The live scorer's driver: it starts and restarts queries; no messages pass through it."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from fraudstream import kafka as kafka_clients
from fraudstream.kafka import Topic
from fraudstream.logs import get_logger
from fraudstream.metrics import ScoreMonitor, Standing
from fraudstream.model.artifact import Model
from fraudstream.model.scoring import other_delay
from fraudstream.rules import Rule
from fraudstream.settings import PostgresSettings, ProfilesBy, Settings
from fraudstream.spark import recovery
from fraudstream.spark.answers import Answers, Tally
from fraudstream.spark.first_job import run_first_job
from fraudstream.spark.keeper import TARGET, Keeper
from fraudstream.spark.mode import Mode
from fraudstream.spark.recovery import CURABLE, Patience, existing_topic
from fraudstream.spark.relay import Relay
from fraudstream.spark.scoring import Scoring
from fraudstream.spark.settlement import settled
from fraudstream.spark.watch import POLL_SECONDS, Parts, Watch
from fraudstream.store import offsets, resumption

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = get_logger("score")


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
        with recovery.starting(self._spark):
            keeper = Keeper(self._settings.postgres, self._ready, self._model, self._monitor.patience)
            warn_of_hindsight(self._settings.postgres, topic, start)
            warm_up = partial(keeper.basis.scoring.warm_up, keeper.basis.profiles)
            run_first_job(warm_up, self._spark.sparkContext.cancelAllJobs, stop)
        answers = Answers(self._settings.kafka, scored)
        self._monitor.begun(TARGET)
        try:
            topic, stands = self._go_on(topic, start, self._parts(keeper, answers), summary, stop)
            answers.close()
            reached = settled(self._settings.kafka, topic, stands.reached, answers.knows)
            keeper.save(topic, replace(stands, reached=reached))
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
        stored = resumption.begin(
            self._settings.kafka,
            self._settings.postgres,
            topic,
            (TARGET,),
            accepting="`fraudstream score --accept-loss`",
            accept_loss=accept_loss,
            new="first" if from_beginning else "end",
        )
        return {partition: offset for (_, partition), offset in stored.items()}

    def _parts(self, keeper: Keeper, answers: Answers) -> Parts:
        longest = max(self._settings.score.trigger_seconds, self._settings.metrics.stalled_seconds)
        long_batches = longest > self._settings.postgres.retry_seconds
        return Parts(keeper, answers, self._monitor, self._patience, self.ready, long_batches=long_batches)

    def _go_on(
        self, topic: Topic, start: Mapping[int, int], parts: Parts, summary: Summary, stop: threading.Event
    ) -> tuple[Topic, Standing]:
        """Run relays until `stop` is set, each after the failure of the previous one; returns where the last one stopped."""
        ends: Mapping[int, int] = start
        while not stop.is_set():
            relay = Relay(self._spark, self._settings, self._mode, topic)
            try:
                basis = parts.keeper.basis
                relay.begin(basis, start)
                log.info(
                    "scoring %s with model %s on %d partitions; profiles %s",
                    topic.name,
                    basis.scoring.model.version,
                    len(start),
                    f"of {basis.profiles.taken_at:%H:%M:%S}"
                    if basis.scoring.lookup is None
                    else "looked up by each batch",
                )
                watch = Watch(relay, topic, parts)
                while not stop.wait(POLL_SECONDS):
                    watch.turn()
            except CURABLE as error:
                self._monitor.restarted(TARGET, error.message)
                found = self._patience.until(partial(self._where, topic, relay.reached or start), error, stop)
                if found is None:
                    start = relay.reached or start
                    break
                topic, start = found
                summary.restarts += 1
            else:
                start = relay.reached
            finally:
                relay.stop()
                ends = relay.ends or start
                summary.handovers += relay.handovers
        return topic, Standing(topic.name, start, ends, 0.0)

    def _where(self, before: Topic, reached: Mapping[int, int]) -> tuple[Topic, dict[int, int]]:
        """The topic as it is now, and its start offsets: where this scorer stopped, even if PostgreSQL is unavailable."""
        topic = existing_topic(self._settings.kafka, before.name)
        bounds = kafka_clients.bounds(self._settings.kafka, topic)
        start = {partition: reached.get(partition, bound.first) for partition, bound in bounds.items()}
        if topic.topic_id == before.topic_id and all(b.first <= start[p] <= b.end for p, b in bounds.items()):
            return topic, start
        return topic, self._begin(topic, accept_loss=False, from_beginning=False)


def warn_of_hindsight(postgres: PostgresSettings, topic: Topic, start: Mapping[int, int]) -> None:
    """Warn if `consume` was ahead: a payment is left out of its own profiles, but later payments are not."""
    if count := offsets.taken_in(postgres, "profiles", topic, start):
        log.warning(
            "%s of the messages to be scored first were stored before they could be scored: each is compared with"
            " profiles that include later payments, so some decisions differ from live ones (docs/scoring.md).",
            f"{count:,}",
        )
