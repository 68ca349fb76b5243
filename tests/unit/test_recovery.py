"""Which ends of a query a new start may cure, told by what Spark says of them."""

import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from fraudstream.errors import BrokerRefused, StreamError
from fraudstream.spark.failures import NotStarted, QueryStopped, failure_of
from fraudstream.spark.recovery import CURABLE, Patience, starting

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

ABORTED = "Job aborted due to stage failure: Task 1 in stage 5.0 failed 1 times, most recent failure: Lost task 1.0: "
WAY = """An exception was raised by the Python Proxy. Return Message: Traceback (most recent call last):
  File "py4j/clientserver.py", line 649, in _call_proxy
py4j.protocol.Py4JJavaError: An error occurred while calling o84.collectToPython.
: """
BEGINNING = """\tat org.apache.spark.errors.SparkCoreErrors$.eofExceptionWhileReadPortNumberError(SparkCoreErrors.scala:55)
\tat org.apache.spark.api.python.PythonWorkerFactory.startDaemon(PythonWorkerFactory.scala:357)"""


@dataclass
class Ended:
    """A query that ended with these words."""

    words: str | None

    def exception(self) -> Exception | None:
        """What stopped it."""
        return None if self.words is None else RuntimeError(self.words)


def failure(words: str | None) -> Exception | None:
    return failure_of(cast("StreamingQuery", Ended(words)))


@pytest.mark.parametrize(
    "words",
    [
        # A broker that was killed and started again while its topic was deleted and made anew.
        "org.apache.kafka.clients.consumer.LogTruncationException: Truncated partitions detected with divergent offsets {}",
        "org.apache.kafka.clients.consumer.OffsetOutOfRangeException: Fetch position 5 is out of range for partition t-0",
        "org.apache.kafka.common.errors.TimeoutException: Timeout of 60000ms expired before the position could be determined",
        # A clock that was set forward, or a broker that answers and gives nothing.
        "java.util.concurrent.TimeoutException: Cannot fetch record for offset 13652 in 120000 milliseconds",
        # A name that no server resolves for a while, as that of a container that was stopped: in the driver, and in a task.
        "Failed to create new KafkaAdminClient\n=== Streaming Query ===\nIdentifier: [id = 230d0120]",
        (
            "org.apache.kafka.common.KafkaException: Failed to construct kafka consumer\n"
            "Caused by: org.apache.kafka.common.config.ConfigException: No resolvable bootstrap urls given in bootstrap.servers"
        ),
        # A partition that was added while a query began.
        "java.lang.AssertionError: assertion failed: If startingOffsets contains specific offsets, you must specify all TopicPartitions.",
        # A checkpoint that was deleted while Spark wrote it.
        "chmod: cannot access '/tmp/x/fraudstream-checkpoint-116ul1jl/offsets': No such file or directory",
        "org.apache.spark.SparkException: Python worker exited unexpectedly (crashed).",
        f"org.apache.spark.SparkException: EOFException occurred while reading the port number from x's stdout.\n{BEGINNING}",
        (
            "org.apache.spark.SparkException: EOFException occurred while reading the port number from x's stdout and "
            f"terminated with code: 137.\nError from python worker:\n  a warning\n{BEGINNING}"
        ),
        (
            "java.io.EOFException\n\tat java.base/java.io.DataInputStream.readInt(DataInputStream.java:398)\n"
            "\tat org.apache.spark.api.python.PythonWorkerFactory.createWorker$1(PythonWorkerFactory.scala:190)"
        ),
        # What forks the workers was killed between two batches: Spark finds a worker gone, and tells the one that forked it.
        (
            "java.io.IOException: Broken pipe\n"
            "\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)\n"
            "\tat java.base/java.io.FileOutputStream.write(FileOutputStream.java:349)\n"
            "\tat java.base/java.io.BufferedOutputStream.flushBuffer(BufferedOutputStream.java:81)\n"
            "\tat java.base/java.io.BufferedOutputStream.flush(BufferedOutputStream.java:142)\n"
            "\tat java.base/java.io.DataOutputStream.flush(DataOutputStream.java:128)\n"
            "\tat org.apache.spark.api.python.PythonWorkerFactory.$anonfun$stopWorker$1(PythonWorkerFactory.scala:501)"
        ),
    ],
)
def test_a_broker_a_worker_or_a_checkpoint_that_went_away_is_a_new_start(words: str) -> None:
    found = failure(ABORTED + words)
    assert isinstance(found, QueryStopped)
    assert isinstance(found, CURABLE)


@pytest.mark.parametrize(
    "words",
    [
        "org.apache.kafka.common.errors.SaslAuthenticationException: Authentication failed",
        "org.apache.kafka.common.errors.TopicAuthorizationException: Not authorized to access topics: [t]",
    ],
)
def test_a_refusal_is_waited_for_by_a_stream_that_runs_and_not_by_one_that_starts(words: str) -> None:
    """Logins and rights are mended while it runs; who starts one reads the sentence at once."""
    refused = failure(ABORTED + words)
    assert isinstance(refused, BrokerRefused)
    patience = Patience(60)
    with pytest.raises(BrokerRefused, match="rejected Spark's client"):
        patience.until(lambda: "found", refused, threading.Event())
    patience.reward()
    assert patience.until(lambda: "found", refused, threading.Event()) == "found"


def test_a_client_that_java_cannot_make_is_waited_for_by_a_stream_that_runs_and_not_by_one_that_starts() -> (
    None
):
    """Spark tells no more than that: a name that no server resolves just now, or a certificate that Java does not take."""
    failed = failure("Failed to create new KafkaAdminClient\n=== Streaming Query ===\nIdentifier: [id = 2]")
    assert isinstance(failed, QueryStopped)
    patience = Patience(60)
    with pytest.raises(QueryStopped, match="Java's client") as caught:
        patience.until(lambda: "found", failed, threading.Event())
    assert "log" in caught.value.hint
    patience.reward()
    assert patience.until(lambda: "found", failed, threading.Event()) == "found"


def test_a_query_that_cannot_be_started_is_waited_for_by_a_stream_that_runs_and_not_by_one_that_starts() -> (
    None
):
    """A full disk, say: who starts the stream reads the sentence at once."""
    patience, full = Patience(60), NotStarted("Spark could not start a query: No space left on device.")
    with pytest.raises(NotStarted, match="No space left"):
        patience.until(lambda: "found", full, threading.Event())
    patience.reward()
    assert patience.until(lambda: "found", full, threading.Event()) == "found"


def test_a_right_that_was_taken_away_is_waited_for_until_it_is_given_back() -> None:
    """The stream that Spark stopped asks for the topic itself, and is refused as well."""
    patience, refused = Patience(60), [BrokerRefused("Kafka refused: topic.", hint="")]

    def find() -> str:
        if refused:
            raise refused.pop()
        return "found"

    patience.reward()
    assert patience.until(find, BrokerRefused("Spark's client.", hint=""), threading.Event()) == "found"


def test_a_mistake_of_ours_is_not() -> None:
    for words in (
        "boom",
        f"org.apache.spark.SparkException: \nError from python worker:\n  No module named fraudstream\n{BEGINNING}",
        f"org.apache.spark.SparkException: \nBad data in x's standard output. Invalid port number:\n  7\n{BEGINNING}",
        (
            'java.io.IOException: Cannot run program "/venv/bin/python": error=2, No such file or directory\n'
            f"\tat java.base/java.lang.ProcessBuilder.start(ProcessBuilder.java:1143)\n{BEGINNING}"
        ),
    ):
        found = failure(ABORTED + words)
        assert isinstance(found, StreamError)
        assert not isinstance(found, CURABLE)


def test_a_python_that_executors_do_not_have_is_named_with_the_variable_that_names_another() -> None:
    """Spark's own setting for it, in spark-defaults.conf, is read by nobody here."""
    missing = 'java.io.IOException: Cannot run program "/home/ann/.venv/bin/python": error=2, No such file or directory'
    found = failure(
        f"{ABORTED}{missing}\n\tat java.base/java.lang.ProcessBuilder.start(ProcessBuilder.java:1143)"
    )
    assert isinstance(found, StreamError)
    assert found.message == (
        "Spark's tasks cannot run Python at /home/ann/.venv/bin/python: error=2, No such file or directory."
    )
    assert "PYSPARK_PYTHON" in found.hint


def test_a_reason_is_told_without_the_way_that_it_took() -> None:
    found = failure(
        f"{WAY}org.apache.spark.SparkException: Out of leaves.\n\tat org.apache.spark.Tree.grow(Tree.scala:1)"
    )
    assert str(found) == "Spark stopped: org.apache.spark.SparkException: Out of leaves."


def test_a_query_that_was_stopped_on_purpose_did_not_fail() -> None:
    assert failure(None) is None


TRACEBACK = """[PYTHON_EXCEPTION] An exception was thrown from the Python worker: Traceback (most recent call last):
  File "lookup.py", line 1, in _patiently
psycopg.OperationalError: connection refused

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "lookup.py", line 2, in judged
{last}

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:599)
Caused by: java.lang.Error: of no interest
"""


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("fraudstream.errors.DatabaseUnreachable: PostgreSQL is away: why.", "PostgreSQL is away: why."),
        ("ValueError: no number: x", "ValueError: no number: x"),
    ],
)
def test_what_a_task_raised_is_said_in_its_own_words(last: str, said: str) -> None:
    found = failure(ABORTED + TRACEBACK.format(last=last))
    assert type(found) is StreamError
    assert found.message == f"Spark's task stopped: {said}"


@pytest.mark.parametrize(
    "words",
    [
        # The daemon of a machine whose Python is another one, and a task on a cluster.
        "org.apache.spark.SparkException: \nError from python worker:\n  /usr/bin/python3: No module named fraudstream",
        "Python worker: Traceback (most recent call last):\nModuleNotFoundError: No module named 'fraudstream'\n\n\tat org",
    ],
)
def test_executors_without_the_package_are_told_apart_from_its_defects(words: str) -> None:
    found = failure(words)
    assert isinstance(found, StreamError)
    assert found.message == "The Python that Spark's tasks run does not have fraudstream installed."
    assert "Install" in found.hint
    assert "PYSPARK_PYTHON" in found.hint


CALL = "An error occurred while calling o84.save.\n: "


def not_started(error: Exception) -> NotStarted:
    """What is said if this is raised while a query is built and started, by a Java that lives on."""
    alive = SimpleNamespace(sparkContext=SimpleNamespace(_gateway=SimpleNamespace(proc=None)))
    with pytest.raises(NotStarted) as caught, starting(cast("Any", alive)):
        raise error
    return caught.value


@pytest.mark.parametrize(
    "words",
    [
        "java.lang.OutOfMemoryError: Java heap space\n\tat org.apache.spark.Broadcast.build(Broadcast.scala:1)",
        (
            "org.apache.spark.SparkException: Not enough memory to build and broadcast the table to all worker nodes. As a"
            " workaround, you can increase the spark driver memory by setting spark.driver.memory to a higher value"
        ),
        "org.apache.spark.SparkException: Cannot broadcast the table that is larger than 8.0 GiB: 9.1 GiB.",
    ],
)
def test_profiles_that_outgrow_javas_memory_before_a_query_starts_are_told_with_the_setting(
    words: str,
) -> None:
    """It was called a bug, with Java's stack trace; Spark's advice names a setting of its own, which has no effect here."""
    found = not_started(RuntimeError(CALL + words))
    assert found.message.startswith("Spark could not start a query: RuntimeError: ")
    assert "spark.driver.memory" not in found.message
    assert "\n" not in found.message
    assert "FRAUDSTREAM_SPARK__DRIVER_MEMORY" in found.hint
    assert "FRAUDSTREAM_SCORE__PROFILES=lookup" in found.hint


def test_threads_that_java_cannot_have_are_not_a_matter_of_its_heap() -> None:
    found = not_started(RuntimeError(f"{CALL}java.lang.OutOfMemoryError: unable to create native thread"))
    assert "DRIVER_MEMORY" not in found.hint
    assert "log" in found.hint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            'java.io.IOException: Cannot run program "/opt/venv/bin/python": error=2, No such file or directory',
            "Spark's tasks cannot run Python at /opt/venv/bin/python: error=2, No such file or directory.",
        ),
        (
            "\nError from python worker:\n  /usr/bin/python3: No module named fraudstream",
            "The Python that Spark's tasks run does not have fraudstream installed.",
        ),
        (
            TRACEBACK.format(last="fraudstream.errors.DatabaseUnreachable: PostgreSQL is away: why."),
            "Spark's task stopped: PostgreSQL is away: why.",
        ),
        (
            (
                "An exception was thrown from the Python worker:\nTraceback (most recent call last):\n"
                '  File "lookup.py", line 2, in judged\nfraudstream.errors.DatabaseUnreachable: PostgreSQL is away: why.'
            ),
            "Spark's task stopped: PostgreSQL is away: why.",
        ),
        (
            "org.apache.spark.SparkException: Python worker exited unexpectedly (crashed).",
            "A Python worker of Spark was killed, possibly because memory ran out.",
        ),
    ],
)
def test_what_stops_python_tasks_is_told_at_the_start_as_it_is_later(words: str, said: str) -> None:
    """Their first job runs before the first query: executors without Python were called a bug of ours."""
    found = not_started(RuntimeError(CALL + ABORTED + words))
    assert found.message == said
    assert found.hint


def test_a_full_disk_is_told_to_be_full_wherever_a_query_would_write() -> None:
    """Its checkpoint's name in the error must not hide that."""
    found = not_started(OSError(28, "No space left on device", "spark/fraudstream-checkpoint-7"))
    assert "No space left on device" in found.message
    assert "free disk" in found.hint
