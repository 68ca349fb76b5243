"""The `score` command: finds what is missing before Spark starts, and configures the session."""

from collections.abc import Mapping
from typing import Any, Final

from fraudstream import kafka as kafka_clients
from fraudstream.errors import SettingsError
from fraudstream.metrics import ScoreMonitor, served
from fraudstream.rules import load_rules
from fraudstream.settings import ProfilesBy, Settings, load
from fraudstream.signals import stop_on_signals
from fraudstream.spark.command import spark_session
from fraudstream.spark.mode import Mode
from fraudstream.spark.risk import trees_of
from fraudstream.spark.scorer import Scorer, Summary
from fraudstream.store import registry
from fraudstream.store.migrate import migrate

CONF: Final = {
    # It took 4.6 s of the 4.8 s of planning: it follows each key through the features, and finds no partition to prune.
    "spark.sql.optimizer.dynamicPartitionPruning.enabled": "false",
    # The last of duplicate keys counts, as for the consumer; otherwise Spark would stop in the middle of a message.
    "spark.sql.variant.allowDuplicateKeys": "true",
    # One task for each broadcast, not one for each thread: a profile table has no partitions.
    "spark.sql.leafNodeDefaultParallelism": "1",
    # The state of tasks must be visible immediately, not with the next heartbeat.
    "spark.ui.liveUpdate.period": "0",
    # A query every few seconds for months: keep no history of them.
    "spark.sql.ui.retainedExecutions": "5",
    "spark.ui.retainedJobs": "50",
    "spark.ui.retainedStages": "50",
    "spark.ui.retainedTasks": "1000",
    "spark.sql.streaming.ui.retainedQueries": "5",
}
LOCAL_THREADS: Final = 64
"""A real-time task waits for messages most of the time; it takes a thread for as long as its query lives, not a core."""


def run_scorer(
    mode: Mode, flags: Mapping[str, dict[str, Any]], *, accept_loss: bool, from_beginning: bool
) -> Summary:
    """Score with the settings in force; see `Scorer.run`. Errors in these are raised before Spark starts."""
    settings = load(**flags)
    if mode is Mode.REALTIME and settings.score.profiles is ProfilesBy.LOOKUP:
        raise SettingsError(
            "Real-time mode cannot look up profiles, as that needs Python.",
            hint="Add --mode microbatch, or set FRAUDSTREAM_SCORE__PROFILES=broadcast.",
        )
    rules = load_rules(settings.score.rules) if settings.score.rules else ()
    migrate(settings.postgres)
    model = registry.opened(settings.postgres)
    trees_of(model, python=mode is Mode.MICROBATCH)
    topic = kafka_clients.ensure_topic(settings.kafka, settings.kafka.transactions_topic, reads=True)
    # It reports its progress whenever one query replaces another.
    monitor = ScoreMonitor(settings.metrics.stalled_seconds + 2 * settings.score.trigger_seconds)
    with (
        served(settings.metrics, monitor.health, monitor.registry),
        spark_session(with_threads(settings, len(topic.partitions)), "score", CONF) as spark,
        stop_on_signals() as stop,
    ):
        scorer = Scorer(spark, settings, mode, model, rules, monitor)
        return scorer.run(stop, accept_loss=accept_loss, from_beginning=from_beginning)


def with_threads(settings: Settings, partitions: int) -> Settings:
    """The settings with enough threads on one machine: for two queries with a task per partition, and some spare ones.

    >>> with_threads(Settings(_env_file=None), 4).spark.master
    'local[64]'
    """
    if not settings.spark.is_local:
        return settings
    master = f"local[{max(LOCAL_THREADS, 3 * partitions)}]"
    return settings.model_copy(update={"spark": settings.spark.model_copy(update={"master": master})})
