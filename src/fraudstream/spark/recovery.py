"""Restarting after temporary failures: which ones those are, how long to wait, and where a stream resumes."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from fraudstream import kafka as kafka_clients
from fraudstream.errors import (
    BrokerRefused,
    BrokerUnreachable,
    DatabaseUnreachable,
    FraudstreamError,
    MessagesLost,
    StreamError,
)
from fraudstream.kafka import Topic
from fraudstream.logs import get_logger
from fraudstream.settings import KafkaSettings, PostgresSettings
from fraudstream.spark import session
from fraudstream.spark.source import CHECKPOINT
from fraudstream.store import offsets
from fraudstream.store.slices import OffsetHole
from fraudstream.store.targets import companions

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery

log = get_logger("spark.recovery")

Found = TypeVar("Found")

BACKOFF_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses between starts after a failure; the last one repeats."""
KAFKA_WENT_AWAY: Final = re.compile(
    r"not available in Kafka any more|KAFKA_DATA_LOSS"
    r"|kafka\.common\.errors\.(Timeout|Disconnect|Network|Retriable|UnknownTopic|UnknownServer|NotLeader|LeaderNotAvailable"
    r"|BrokerNotAvailable|CoordinatorNotAvailable|OffsetOutOfRange|InvalidMetadata)"
    r"|kafka\.clients\.consumer\.(LogTruncation|OffsetOutOfRange|NoOffsetForPartition)"
    r"|you must specify all TopicPartitions|Cannot fetch record for offset \d+ in"
    r"|No resolvable bootstrap urls"
)
"""Spark's errors if the broker or the topic changed, for example by a new partition. The next start finds out what happened:
a recreated topic is read from its start, lost messages are an error. These do not include rejected logins and missing
rights, but do include names that temporarily do not resolve."""
NO_CLIENT: Final = "Failed to create new KafkaAdminClient"
"""Spark's only message about the driver's client, whether a name does not resolve or Java does not accept a key."""
KAFKA_REFUSED: Final = re.compile(
    r"kafka\.common\.errors\.\w*(?:Authentication|Authorization)Exception: ([^\n]*)"
)
"""Spark's error if the broker rejects its client, for example after a password was changed."""
WORKER_DIED: Final = re.compile(
    r"Python worker (exited unexpectedly|failed to connect back)|EOFException occurred while reading the port number"
    r"|java\.io\.(?:EOFException|IOException: Broken pipe)(?:\s+at [^\n]+){0,6}?"
    r"\s+at org\.apache\.spark\.api\.python\.PythonWorkerFactory\."
)
"""Spark's errors if a Python worker was killed, usually because memory ran out, or the daemon that forks them, possibly at
its start or between two batches: its pipe ends. Their slice is read again. Errors about a missing Python, or one that
prints unexpected output, are about the same daemon, but restarting does not help."""
WORKER_SPOKE: Final = "Error from python worker:"
"""Followed by the daemon's output before it ended, such as a missing module: an error, not a kill."""
KILL_9: Final = "terminated with code: 137"
"""With this exit code it was killed, whatever it had written before."""
NO_PYTHON: Final = re.compile(r'Cannot run program "([^"\n]*python[^"\n]*)"[^:\n]*: ([^\n]+)')
"""Spark's error if tasks find no Python at the path given by the command."""
NO_PACKAGE: Final = re.compile(r"No module named '?fraudstream\b")
OUT_OF_HEAP: Final = re.compile(
    r"OutOfMemoryError(?!: (?:Metaspace|unable to create))|Not enough memory to build and broadcast|Cannot broadcast the table"
)
"""Errors if Java has no room for what a query needs, such as all profiles. Spark's advice is about settings that we make."""
JAVA_REASON: Final = re.compile(r"^: ([\w.$]+(?:Exception|Error)\b[^\n]*)", re.MULTILINE)
"""The line with the reason if an error went from Java through Python and back: the first line is only about the way."""

WORKER_RAISED: Final = re.compile(
    r"Python worker:\sTraceback \(most recent call last\):\n(.*?)(?=\n\s+at |\n=== |\Z)", re.DOTALL
)
"""An unexpected error in one of our tasks; Java's stack trace follows, if a stream ended."""
RAISED: Final = re.compile(r"^(?:fraudstream\.[\w.]+: |(?=[A-Za-z_][\w.]*: ))([^\n]+)$", re.MULTILINE)
"""The last line of a traceback; for our own errors, the sentence without the class."""


class TopicReplaced(StreamError):
    """The topic was deleted and recreated: its offsets now refer to other messages."""

    code = "topic_replaced"


class QueryStopped(StreamError):
    """Spark stopped the query for a reason that a restart may cure, such as a lost broker."""

    code = "query_stopped"


class ClientFailed(QueryStopped):
    """Java could not create its client for Kafka: settings are wrong, or a name temporarily does not resolve."""

    code = "kafka_client"


class NotStarted(QueryStopped):
    """A query could not be built or started, as on a full disk. The ones that run are not affected."""

    code = "query_not_started"


CURABLE: Final = (DatabaseUnreachable, BrokerUnreachable, OffsetHole, TopicReplaced, QueryStopped)
"""After these a stream resumes where it stopped, until patience ends."""


class Patience:
    """Backs off after consecutive failures, and gives up `seconds` after the first of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._failures: list[float] = []
        """Times of the failures since the last progress."""
        self._ran = False

    def reward(self) -> None:
        """Note progress: the next failure is a new one.

        That is something stored or answered, or a check that found nothing to do, whatever time that took. A query that
        merely lives is none: one that reads in vain fails after a timeout, which may be minutes.
        """
        self._ran = True
        self._failures.clear()

    def until(
        self, find: Callable[[], Found], error: FraudstreamError, stop: threading.Event
    ) -> Found | None:
        """The result of `find`, retried while it raises one of CURABLE; None if a stop was requested.

        Raises the last error once patience ends. Before any progress, a rejection, a wrong setting or a query that cannot be
        started is raised immediately: while a stream runs, logins, rights, keys and disks may be corrected, but at the start
        there is somebody to read the error.
        """
        if isinstance(error, (BrokerRefused, ClientFailed, NotStarted)) and not self._ran:
            raise error
        while True:
            now = time.monotonic()
            self._failures.append(now)
            if now - self._failures[0] > self._seconds:
                raise error
            pause = BACKOFF_SECONDS[min(len(self._failures), len(BACKOFF_SECONDS)) - 1]
            log.warning("%s Resuming in %s s.", error.message, pause)
            if stop.wait(pause):
                return None
            try:
                return find()
            except CURABLE as again:
                error = again


@contextmanager
def starting(spark: "SparkSession") -> Iterator[None]:
    """Raises NotStarted for what this machine or Spark raises while a query is built and started, unless Spark is gone."""
    try:
        yield
    except FraudstreamError:  # such as a wrong setting
        raise
    except Exception as error:  # a full disk, or whatever Java raises
        if session.ended(spark, session.JVM_SECONDS):  # no restart of a query cures that
            raise
        raise _not_started(type(error).__name__, str(error)) from error


def _not_started(kind: str, reason: str) -> NotStarted:
    """The error for one of this kind at a start: a known one in the words that it has while a query runs."""
    summary = summary_of(reason)
    hint = "Check this machine's free disk and memory; Spark's own log in `home`/logs has more."
    if known := _passing(reason, summary) or _of_python(reason):
        return NotStarted(known.message, hint=known.hint or hint)
    if OUT_OF_HEAP.search(reason):
        summary = summary.partition(". ")[0]
        hint = (
            "Raise FRAUDSTREAM_SPARK__DRIVER_MEMORY, on a cluster FRAUDSTREAM_SPARK__EXECUTOR_MEMORY, too. Profiles that"
            " outgrow it can be looked up: `score --mode microbatch` with FRAUDSTREAM_SCORE__PROFILES=lookup."
        )
    return NotStarted(f"Spark could not start a query: {kind}: {summary.rstrip('.')}.", hint=hint)


def existing_topic(kafka: KafkaSettings, name: str, client: "AdminClient | None" = None) -> Topic:
    """The topic of a running stream. Raises QueryStopped if it is gone, BrokerUnreachable."""
    found = kafka_clients.find_topic(kafka, name, client)
    if found is None:
        raise QueryStopped(f"Topic {name} is gone.")
    return found


def failure_of(query: "StreamingQuery") -> FraudstreamError | None:
    """Why the query ended; None if it was stopped on purpose."""
    exception = query.exception()
    if exception is None:
        return None
    reason = str(exception)
    summary = summary_of(reason)
    if refused := KAFKA_REFUSED.search(reason):
        return BrokerRefused(
            f"Kafka rejected Spark's client: {refused[1].rstrip('.')}.",
            hint="Check FRAUDSTREAM_KAFKA__SASL_…, __SSL_… (Java knows other authorities than the system: set __SSL_CA_FILE)"
            " and what this user may do with the topic.",
        )
    unknown = StreamError(f"Spark stopped: {summary}", hint="See Spark's own log in `home`/logs.")
    return _passing(reason, summary) or _of_python(reason) or unknown


def _passing(reason: str, summary: str) -> QueryStopped | None:
    """The error for a failure that a restart may cure."""
    if KAFKA_WENT_AWAY.search(reason):
        return QueryStopped(f"Spark stopped reading Kafka: {summary}")
    if NO_CLIENT in reason:
        return ClientFailed(
            f"Java's client for Kafka could not be created: {summary}",
            hint="See Spark's own log in `home`/logs for the reason: a name that does not resolve, or a certificate or a key that"
            " librdkafka accepts and Java does not.",
        )
    if WORKER_DIED.search(reason) and (KILL_9 in reason or WORKER_SPOKE not in reason):
        return QueryStopped("A Python worker of Spark was killed, possibly because memory ran out.")
    if CHECKPOINT in summary:  # such as one that was deleted with the machine's temporary files
        return QueryStopped(f"Spark cannot use its checkpoint: {summary.rstrip('.')}.")
    return None


def summary_of(reason: str) -> str:
    r"""The line of an error's message that says why, of Java's or Python's.

    >>> summary_of("An error occurred while calling o84.load.\n: java.lang.OutOfMemoryError: Java heap space\n\tat x.Y")
    'java.lang.OutOfMemoryError: Java heap space'
    >>> summary_of("[Errno 28] No space left on device")
    '[Errno 28] No space left on device'
    """
    found = JAVA_REASON.search(reason)
    return found[1] if found else reason.split("\n", 1)[0]


def _of_python(reason: str) -> StreamError | None:
    """The error for a failure of the Python that tasks run, which restarting does not cure."""
    hint = (
        "Install fraudstream on the executors' machines, and set PYSPARK_PYTHON to the Python that has it there"
        " (docs/scaling.md)."
    )
    if missing := NO_PYTHON.search(reason):
        return StreamError(
            f"Spark's tasks cannot run Python at {missing[1]}: {missing[2].rstrip('.')}.", hint=hint
        )
    if NO_PACKAGE.search(reason):
        return StreamError(
            "The Python that Spark's tasks run does not have fraudstream installed.", hint=hint
        )
    if (raised := WORKER_RAISED.search(reason)) and (lines := RAISED.findall(raised[1])):
        return StreamError(
            f"Spark's task stopped: {lines[-1]}", hint="`fraudstream --debug …` prints the traceback."
        )
    return None


def begin(  # noqa: PLR0913 - what a start depends on
    kafka: KafkaSettings,
    postgres: PostgresSettings,
    topic: Topic,
    targets: Sequence[str],
    *,
    command: str,
    accept_loss: bool,
    new: Literal["first", "end"] = "first",
) -> dict[tuple[str, int], int]:
    """The start offset of each target and partition: the stored one, checked against what the broker still has.

    A target without any offset in a topic of this name starts at the first message, or with `new="end"` at
    the next one; partitions and topics that were added later are read completely. Raises MessagesLost (or, if the loss is
    accepted, moves the stored offsets instead), BrokerUnreachable, DatabaseError.

    Other targets of the topic count if Kafka lost messages that they have stored: new messages get those offsets, and rejects
    below the offset of any target count as stored (`store.slices`).
    """
    # Before Kafka's end is asked for: what other consumers, also of these targets, store of what arrives meanwhile is not
    # beyond it.
    before = offsets.stored(postgres, companions(targets[0]), topic)
    bounds = kafka_clients.bounds(kafka, topic)
    first = {partition: bound.first for partition, bound in bounds.items()}
    if new == "end":
        ends = {partition: bound.end for partition, bound in bounds.items()}
        strangers = [t for t in targets if not offsets.known(postgres, t, topic)]
        offsets.begin(postgres, strangers, topic, ends)
    stored = offsets.begin(postgres, targets, topic, first)
    beyond = {
        (target, partition): offset
        for (target, partition), offset in before.items()
        if partition in bounds and offset > bounds[partition].end
    }
    places = beyond | stored
    outside = {
        (target, partition): bounds[partition]
        for (target, partition), offset in places.items()
        if partition in bounds and ((target, partition) in beyond or offset < bounds[partition].first)
    }
    if outside and not accept_loss:
        where = "; ".join(
            f"target {target} is at offset {places[target, partition]} of {topic.name}/{partition}, but"
            f" Kafka has {bound.first} to {bound.end}"
            for (target, partition), bound in outside.items()
        )
        raise _lost(where, command, beyond=any(places[place] > bound.end for place, bound in outside.items()))
    moved = {}
    for (target, partition), bound in outside.items():
        offset = places[target, partition]
        moved[target, partition] = begins = min(max(offset, bound.first), bound.end)
        log.warning(
            "%s: offsets %s to %s of partition %s are lost", target, *sorted((offset, begins)), partition
        )
        offsets.move(postgres, target, topic, partition, begins)
    return {place: moved.get(place, offset) for place, offset in stored.items()}


def _lost(where: str, command: str, *, beyond: bool) -> MessagesLost:
    """The error for missing messages: retention deleted old ones, or, `beyond` Kafka's end, Kafka lost new ones."""
    if beyond:
        return MessagesLost(
            f"{where}: Kafka lost messages that are already stored.",
            hint="A replica without them became leader, or a broker was restored from a backup; new messages reuse their"
            f" offsets. To continue at Kafka's end: `{command} --accept-loss`.",
        )
    return MessagesLost(
        f"{where}: messages were deleted before they were read.",
        hint=f"Raise the topic's retention. To continue without them: `{command} --accept-loss`.",
    )
