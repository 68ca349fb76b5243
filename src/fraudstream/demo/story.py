"""The demo from beginning to end: services, history, model, live stream.

It is the real system on the embedded services, in their own database and topics: its results are what `alerts`,
`dashboard` and `models` show afterwards, and what `reset` deletes. A second run continues with the history and model.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from fraudstream.demo.crowd import Crowd, Stage
from fraudstream.demo.preparation import alone, check, heed, prepare
from fraudstream.demo.view import Scene, Watcher
from fraudstream.kafka import ensure_topic
from fraudstream.logs import get_logger
from fraudstream.producer.sender import LINGER_MS, Sender
from fraudstream.settings import ProfilesBy, Settings, on_embedded, on_this_machine
from fraudstream.store import alerts, registry
from fraudstream.store.alert_feed import Feed
from fraudstream.store.glance import Glance, glance
from fraudstream.store.migrate import migrate
from fraudstream.store.targets import TARGETS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from fraudstream.store.registry import Registered

log = get_logger("demo")

NEWEST = 5
"""Number of alerts in the live display."""
LOOK_SECONDS = 1.0
FRESH_SECONDS = 30.0
"""The customers' time runs fast, so profiles age fast. But next to everything else on two cores, the next query takes 10
to 20 s to start: with Spark's batches of 10 s, decisions waited for up to 5 s at every hand-over."""
LONGEST_DELAY = 7.0
"""Days until the truth is known. A longer delay leaves too little of the crowd's history to learn from and to evaluate on."""


Pages = Callable[[Settings], AbstractContextManager[str | None]]
"""Opens the dashboard and returns its address, or None."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The result of the demo."""

    glance: Glance
    seconds_to_first_alert: float | None
    """Since the start of the command; null if there was none."""
    first_alert: alerts.Alert | None
    model: "Registered"
    seconds: float
    interrupted: bool
    """Whether it was stopped before its time."""

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "transactions": self.glance.decisions,
            "alerts": self.glance.alerts,
            "latency_ms": {
                "p50": self.glance.p50_ms, "p99": self.glance.p99_ms, "p99_lately": self.glance.p99_lately_ms,
            },
            "seconds_to_first_alert": self.seconds_to_first_alert,
            "first_alert": None if self.first_alert is None else {
                "transaction_id": self.first_alert.transaction_id,
                "risk": self.first_alert.risk,
                "reasons": self.first_alert.sentences,
            },
            "so_far": {
                "right": self.glance.right, "wrong": self.glance.wrong, "frauds": self.glance.frauds,
                "bursts_missed": self.glance.bursts_missed,
            },
            "model": {
                "version": self.model.version,
                "algorithm": self.model.algorithm,
                "metrics": self.model.manifest.get("metrics", {}),
            },
            "seconds": round(self.seconds, 3),
        }  # fmt: skip


def embedded(settings: Settings) -> Settings:
    """`settings` with the embedded services, which are started if they do not run.

    Whatever Kafka and PostgreSQL are set, as simulated payments must never reach a company's own.
    Raises ServiceError (including JavaMissing and JarsMissing).
    """
    from fraudstream.local import services

    services.up(settings)
    ours = on_embedded(settings)
    for name, address, used in (
        ("Kafka", settings.kafka.bootstrap_servers, ours.kafka.bootstrap_servers),
        ("PostgreSQL", settings.postgres.address, ours.postgres.address),
    ):
        if address not in (None, used):
            log.warning("the demo uses the embedded %s; the one at %s is left alone", name, address)
    return suited(ours)


def suited(settings: Settings) -> Settings:
    """`settings` adapted to the demo: its fast time, its short history, its real-time mode, and services on loopback only."""
    delay = settings.model.label_delay_days
    if delay > LONGEST_DELAY:
        log.warning(
            "the demo uses a label delay of %g days: its history is too short for %g", LONGEST_DELAY, delay
        )
    if settings.score.profiles is ProfilesBy.LOOKUP:
        log.warning("the demo broadcasts profiles: its real-time mode cannot look them up")
    if not settings.spark.is_local:
        log.warning(
            "the demo runs Spark on this machine; the cluster at %s is left alone", settings.spark.master
        )
    score = settings.score.model_copy(
        update={"trigger_seconds": FRESH_SECONDS, "profiles": ProfilesBy.BROADCAST}
    )
    model = settings.model.model_copy(update={"label_delay_days": min(delay, LONGEST_DELAY)})
    return settings.model_copy(
        update={"score": score, "model": model, "spark": on_this_machine(settings).spark}
    )


def run(
    settings: Settings,
    crowd: Crowd,
    watcher: Watcher,
    pages: Pages,
    duration: float | None = None,
) -> Ending:
    """Run the demo until `duration` seconds have passed since its first live decision, its payments reach the present, or Ctrl-C.

    Raises what any of its steps raises.
    """
    from fraudstream.signals import stop_on_signals
    from fraudstream.spark.command import spark_session
    from fraudstream.spark.score import CONF, with_threads

    began = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(alone(settings))
        _fetch(settings, watcher)
        with watcher.step("Starting Kafka and PostgreSQL", 15):
            settings = embedded(settings)
            topic = ensure_topic(settings.kafka, settings.kafka.transactions_topic)
        migrate(settings.postgres)
        with watcher.step("Starting Spark", 10):
            spark = stack.enter_context(
                spark_session(with_threads(settings, len(topic.partitions)), "demo", CONF, brief=True)
            )
        stop = stack.enter_context(stop_on_signals())
        stage, model = prepare(spark, settings, crowd, watcher, stop)
        live = _Live(spark, settings, stage, stop)
        with live.running(watcher):
            with watcher.watching():
                first = live.watch(watcher, model, lambda: stack.enter_context(pages(settings)), duration)
            interrupted = stop.is_set() and not live.finished
        found = live.glance()
        if first is None and (late := live.new_alerts()):  # stored while it stopped
            first = late[0], time.monotonic()
    return Ending(
        found,
        None if first is None else first[1] - began,
        None if first is None else first[0],
        model,
        time.monotonic() - began,
        interrupted,
    )


def _fetch(settings: Settings, watcher: Watcher) -> None:
    """Download the jars: a step of its own, as its duration depends on the network."""
    from fraudstream.local import jars

    if not jars.are_cached(settings):
        with watcher.step("Downloading Kafka and Spark's connector (once)", 40):
            jars.kafka_jars(settings)
            jars.spark_jars(settings)


class _Live:
    """The live stream: scorer, consumer and producer, each in a thread."""

    def __init__(
        self, spark: "SparkSession", settings: Settings, stage: Stage, stop: threading.Event
    ) -> None:
        self._spark, self._settings = spark, settings
        self._stage, self._stop = stage, stop
        self._since = datetime.now(UTC)
        self._feed = Feed(settings.postgres)
        self.finished = False
        """Whether the payments reached the present: a demo that ends with them was not interrupted."""

    @contextmanager
    def running(self, watcher: Watcher) -> Iterator[None]:
        """Run everything during the block; a failure stops the others, and is raised at the end."""
        from fraudstream.spark.consume import consume
        from fraudstream.spark.mode import Mode
        from fraudstream.spark.scorer import Scorer

        model = registry.opened(self._settings.postgres)
        scorer = Scorer(self._spark, self._settings, Mode.REALTIME, model)
        with ThreadPoolExecutor(3) as pool:
            scoring = pool.submit(scorer.run, self._stop)
            threads: list[Future[Any]] = [scoring]
            try:
                with watcher.step("Loading the model and the profiles into the scorer", 25):
                    while not scorer.ready.wait(LOOK_SECONDS) and not scoring.done():
                        pass
                heed(self._stop)
                self._since = datetime.now(UTC)
                # Not beside the scorer's start: on two cores that took 61 s instead of 36, and first decisions waited longer.
                storing = partial(
                    consume, self._spark, self._settings, tuple(TARGETS), once=False, stop=self._stop
                )
                threads += [pool.submit(storing), pool.submit(self._send)]
                for thread in threads:
                    thread.add_done_callback(lambda _: self._stop.set())
                yield
            finally:
                self._stop.set()
        for thread in threads:
            thread.result()

    def _send(self) -> None:
        kafka = self._settings.kafka
        sink = Sender(kafka, kafka.transactions_topic, self._stop, linger_ms=LINGER_MS)
        report = self._stage.live(sink, self._stop)
        check(report)
        self.finished = not report.interrupted

    def watch(
        self, watcher: Watcher, model: "Registered", pages: Callable[[], str | None], duration: float | None
    ) -> tuple[alerts.Alert, float] | None:
        """Show the stream until it is stopped; returns the first alert and its time."""
        first, address, opened = None, None, False
        until = math.inf
        while not self._stop.wait(LOOK_SECONDS) and time.monotonic() < until:
            new = self.new_alerts()
            if new and first is None:
                first = new[0], time.monotonic()
            scene = self._scene(model, new, address)
            watcher.show(scene)
            if duration is not None and until == math.inf and scene.glance.decisions:
                # Not from the first payment: a busy machine stores the first decision half a minute later.
                until = time.monotonic() + duration
            if first is not None and not opened:
                # Not earlier, as it takes both cores for two seconds while the user waits for the first alert.
                address, opened = pages(), True
        return first

    def _scene(self, model: "Registered", new: Sequence[alerts.Alert], address: str | None) -> Scene:
        since = self._since
        seconds = (datetime.now(UTC) - since).total_seconds()
        # Read again each time: the truth of an alert is known once its transaction is stored.
        newest = alerts.alerts(self._settings.postgres, limit=NEWEST, since=since, sent_since=since)
        return Scene(self.glance(), newest, new, seconds, self._stage.speed, _described(model), address)

    def new_alerts(self) -> list[alerts.Alert]:
        """The alerts of this run stored since the last call."""
        # Messages that another run left in the topic are decided as well.
        return [a for a in self._feed.step() if a.sent_at and min(a.scored_at, a.sent_at) >= self._since]

    def glance(self) -> Glance:
        """The state of the stream."""
        return glance(self._settings.postgres, self._since)


def _described(model: "Registered") -> str:
    reached = model.manifest.get("metrics", {}).get("average_precision")
    baseline = model.manifest.get("baselines", {}).get("amount", {}).get("average_precision")
    if reached is None or baseline is None:
        return model.algorithm
    return f"{model.algorithm}, average precision {reached:.2f} (amount alone {baseline:.2f})"
