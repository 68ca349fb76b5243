"""Spark's errors: which of them a restart may cure, and which setting or machine is to blame for the others."""

import re
from typing import TYPE_CHECKING, Final

from fraudstream.errors import BrokerRefused, FraudstreamError, StreamError
from fraudstream.spark.source import CHECKPOINT

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

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


def not_started(kind: str, reason: str) -> NotStarted:
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
