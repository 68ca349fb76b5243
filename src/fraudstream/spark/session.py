"""The Spark session, with the same settings for local threads and a cluster."""

import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fraudstream.errors import StreamError
from fraudstream.local.home import unusable
from fraudstream.local.java import COMPILE_LATER, quoted
from fraudstream.local.processes import LOOPBACK, set_aside, size, tail
from fraudstream.logs import get_logger
from fraudstream.settings import SparkSettings
from fraudstream.spark import workers

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = get_logger("spark")

MASTER_SECONDS = 10.0
"""Seconds after which a master that accepts no connection counts as unavailable."""

JVM_SECONDS = 2.0
"""Seconds to wait, as a killed process closes its sockets a moment before it counts as ended."""

LOG_CONFIG = Path(__file__).with_name("log4j2.properties")

CHECKPOINTS = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
"""Plain files instead of atomic renames: saves 50 ms per batch, and is safe, as our checkpoints are scratch."""

COMPILE_ALL = "-XX:-DontCompileHugeMethods"
"""Spark generates one method of more than 8,000 bytes for a query with many features, which by default the JVM never
compiles: with 47 features a decision took 108 microseconds of a core instead of 70."""

REDACT = "(?i)secret|password|passphrase|token|jaas|keystore|access[.]?key|url"
"""Options that Spark must mask in plans and on its web page; its own list lacks `jaas` and PEM keys."""

OF_MEMORY = re.compile(r"\bheap\b|enough space|insufficient memory|OutOfMemory", re.IGNORECASE)
"""Matches what Java says if it cannot have the memory."""
RAISED = 'Exception in thread "main" '
"""Prefix of the exception that ended spark-submit; stack frames follow."""
SAYS_NOTHING = (
    "at ",
    "... ",
    "Picked up ",
    "NOTE: Picked up ",
    "Error: Could not create the Java Virtual Machine",
    "Error: A fatal exception has occurred",
)
"""Starts of lines around the one that says why Java ended."""


def start(  # noqa: PLR0913 - what a session is made of
    spark: SparkSettings,
    *,
    name: str,
    java_home: Path,
    jars: Sequence[Path],
    log_file: Path,
    scratch: Path,
    conf: Mapping[str, str] = MappingProxyType({}),
    java_options: Sequence[str] = (),
) -> "SparkSession":
    """A session with the Kafka connector. Spark's own log goes to `log_file`, not to the terminal.

    `scratch` is a directory for what Java keeps on disk, to which no other user has access (`scratch.scratch`). `conf` and
    `java_options` are further settings and JVM options of this command.
    Raises StreamError if Java or Spark does not start, ServiceError if `log_file` cannot be written.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkRuntimeError
    from pyspark.logger import PySparkLogger
    from pyspark.sql import SparkSession

    # PySpark repeats every error of a query on stderr, with a Java stack trace; ours is a sentence.
    for logger in ("DataFrameQueryContextLogger", "SQLQueryContextLogger"):
        PySparkLogger.getLogger(logger).disabled = True
    if not log.isEnabledFor(logging.DEBUG):
        _hush_py4j()
    os.environ["JAVA_HOME"] = str(java_home)
    os.environ["LC_ALL"] = (
        "C.UTF-8"  # in another locale Java may not find jars, or home, below a name such as José
    )
    # Workers must run this interpreter, which has our dependencies. If a cluster has its own at another path, only the
    # variable can tell: PySpark ignores spark.pyspark.python. On this machine, the shell's variable is for other programs.
    if spark.is_local:
        os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    if spark.is_local:
        # The only setting for the address of Spark's web page; without it, it listens on every address of the machine.
        os.environ["SPARK_LOCAL_IP"] = LOOPBACK
    _look_for_master(spark.master)
    builder = SparkSession.builder.appName(f"fraudstream {name}").master(spark.master)
    told = _conf(spark, jars, (f"-Djava.io.tmpdir={scratch}", *java_options))
    if spark.is_local:
        told |= workers.sockets(scratch)
    for key, value in (told | dict(conf)).items():
        builder = builder.config(key, value)
    set_aside(log_file)
    known = size(log_file)
    try:
        with _output_to(log_file):
            session = builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise _no_java(spark, log_file, tail(log_file, known)) from error
    except Py4JError as error:
        raise _no_spark(spark, log_file, str(error)) from error
    if not log.isEnabledFor(logging.DEBUG):
        _hush_accumulators(session)
    _leave_signals_to_us(session)
    return session


def _look_for_master(master: str) -> None:
    """Raise StreamError if a standalone master is unavailable: Spark itself tries for a minute, and says less."""
    if not master.startswith("spark://"):
        return
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        with suppress(OSError, ValueError):
            socket.create_connection((host.strip("[]"), int(port)), MASTER_SECONDS).close()
            return
    raise StreamError(
        f"No Spark master answers at {master}.",
        hint="Check FRAUDSTREAM_SPARK__MASTER, and that the master runs and is reachable from this machine.",
    )


def _no_java(spark: SparkSettings, log_file: Path, written: str) -> StreamError:
    """The error for a JVM that ended at once, usually because of too large a heap or an unusable master."""
    lines = [line.strip("# \t") for line in written.splitlines()]
    lines = [line for line in lines if line and not line.startswith(SAYS_NOTHING)]
    of_memory = [line for line in lines if OF_MEMORY.search(line)]
    errors = [line.removeprefix(RAISED) for line in lines if line.startswith((RAISED, "Error:"))]
    reason = (of_memory or errors or lines or [""])[-1].rstrip(".")
    if of_memory:
        hint = (
            f"Check FRAUDSTREAM_SPARK__DRIVER_MEMORY ({spark.driver_memory}): 1g is enough to begin with, and the"
            " machine must have it. "
        )
    elif spark.is_local:
        hint = ""
    else:
        hint = f"Check FRAUDSTREAM_SPARK__MASTER ({spark.master}) and what it needs. "
    return StreamError(
        f"Spark's Java process did not start{': ' if reason else ''}{reason}.", hint=f"{hint}See {log_file}."
    )


def _no_spark(spark: SparkSettings, log_file: Path, said: str) -> StreamError:
    """The error if Spark failed inside its JVM, which prints a stack trace."""
    if "spark.driver.memory" in said:
        return StreamError(
            f"Spark did not start: {spark.driver_memory} of memory is too little.",
            hint=f"Set FRAUDSTREAM_SPARK__DRIVER_MEMORY to 1g or more. See {log_file}.",
        )
    # Spark gives up on an unavailable master after a minute.
    return StreamError(
        f"Spark did not start with master {spark.master}.",
        hint=f"Check FRAUDSTREAM_SPARK__MASTER, and that the master runs. See {log_file}.",
    )


def _hush_py4j() -> None:
    """Silence the tracebacks of all calls that wait for the JVM when it dies; `ended` reports it instead."""
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    logging.getLogger().addFilter(_is_no_lost_command)  # py4j logs to the root logger


def _hush_accumulators(session: "SparkSession") -> None:
    """Silence the traceback that PySpark's accumulator server prints when the JVM dies, on top of our sentence."""
    server = session.sparkContext._accumulatorServer  # noqa: SLF001 - nobody else gives it

    def tell_others(request: Any, client: Any) -> None:
        if not isinstance(sys.exception(), (EOFError, ConnectionError)):
            type(server).handle_error(server, request, client)

    server.handle_error = tell_others  # type: ignore[method-assign, assignment]


def _is_no_lost_command(record: logging.LogRecord) -> bool:
    return "while sending command" not in str(record.msg)


def ended(session: "SparkSession", seconds: float = 0.0) -> bool:
    """Whether the JVM of this session has ended, or does so within `seconds`."""
    gateway = session.sparkContext._gateway  # noqa: SLF001 - the process is known to nobody else
    process: subprocess.Popen[bytes] | None = getattr(gateway, "proc", None)
    if process is None:
        return False
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def stop(session: "SparkSession") -> None:
    """End the session, unless its JVM has already ended."""
    if not ended(session):
        session.stop()


def _leave_signals_to_us(session: "SparkSession") -> None:
    """Make the JVM ignore the signals that end a command.

    A closed terminal, `kill -- -PGID` and a service manager send them to every process at once; the JVM would end before
    the stream that runs in it. It ends when its standard input is closed, at the end of this process.
    """
    signals = session.sparkContext._jvm.sun.misc  # type: ignore[union-attr]  # noqa: SLF001 - the way to the JVM
    for name in ("TERM", "HUP"):
        signals.Signal.handle(signals.Signal(name), signals.SignalHandler.SIG_IGN)


def _conf(spark: SparkSettings, jars: Sequence[Path], java_options: Sequence[str]) -> dict[str, str]:
    # For executors, too: by default they log a page for every query that is replaced, as long as a stream runs.
    # If fraudstream is installed at another path on their machine, Spark's own log settings apply.
    everywhere = (f"-Dlog4j2.configurationFile={LOG_CONFIG.as_uri()}", COMPILE_ALL)
    return {
        "spark.jars": ",".join(map(str, jars)),
        "spark.driver.memory": spark.driver_memory,
        **_place(spark),
        "spark.driver.extraJavaOptions": " ".join(map(quoted, (*everywhere, *COMPILE_LATER, *java_options))),
        # Not `extraJavaOptions`, which a cluster's own spark-defaults.conf may set: those follow these.
        "spark.executor.defaultJavaOptions": " ".join(map(quoted, everywhere)),
        "spark.ui.enabled": str(spark.ui).lower(),
        # The page has no password, and any web page open in a browser here could submit a form that ends a stream.
        "spark.ui.killEnabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "4",
        # Profiles as an RDD. As rows inside the plan, every step of building and analysing a query went through all of
        # them: a hand-over with 144,000 profiles took 25 s next to a consumer on two cores instead of 18.
        "spark.sql.execution.arrow.localRelationThreshold": "0",
        "spark.sql.adaptive.enabled": "false",  # it re-plans shuffles, which the streams do not have
        "spark.sql.streaming.checkpointFileManagerClass": CHECKPOINTS,
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
        # A topic may allow messages of many megabytes, of which ten thousand are too many for a batch.
        "spark.sql.execution.arrow.maxBytesPerBatch": str(64 << 20),
        **{f"spark.executorEnv.{name}": value for name, value in workers.KEEP_FREED.items()},
        "spark.redaction.regex": REDACT,
        "spark.sql.redaction.options.regex": REDACT,
    }


def own_jars() -> list[Path]:
    """Spark's own jars: those of SPARK_HOME if it is set, else PySpark's."""
    from pyspark.find_spark_home import _find_spark_home

    return sorted(Path(_find_spark_home(), "jars").glob("*.jar"))


def _place(spark: SparkSettings) -> dict[str, str]:
    """The driver's addresses, and the resources of this command on a cluster."""
    if spark.is_local:
        return {
            # Not every host name resolves; on one machine the loopback address always works.
            "spark.driver.host": LOOPBACK,
            "spark.driver.bindAddress": LOOPBACK,
            # Every user of the machine can reach that address: without this, they could fetch broadcasts and tasks.
            # Spark draws the secret itself and keeps it in the process.
            "spark.authenticate": "true",
            # Not on a cluster, where a daemon starts before Spark has shipped our module to its machine.
            "spark.python.daemon.module": "fraudstream.spark.daemon",
        }
    wanted = {
        "spark.driver.host": spark.driver_host,
        "spark.driver.bindAddress": spark.driver_bind_address,
        # A standalone cluster gives all its cores to the first application, and none to the second.
        "spark.cores.max": spark.cores_max,
        "spark.executor.memory": spark.executor_memory,
    }
    return {name: str(value) for name, value in wanted.items() if value is not None}


@contextmanager
def _output_to(file: Path) -> Iterator[None]:
    """Redirect stdout and stderr of the JVM that starts inside to `file`; ours stay for data and logs.

    Raises ServiceError if it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        log = file.open("ab")
    except OSError as error:
        raise unusable(file.parent, error) from None
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    try:
        with log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        yield
    finally:
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
