"""The Spark session: local threads or a cluster, the same settings."""

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
from fraudstream.local.java import quoted
from fraudstream.local.processes import LOOPBACK, set_aside, size, tail
from fraudstream.logs import get_logger
from fraudstream.settings import SparkSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = get_logger("spark")

MASTER_SECONDS = 10.0
"""A master that does not take a connection within this is not there."""

LOG_CONFIG = Path(__file__).with_name("log4j2.properties")

CHECKPOINTS = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
"""Plain files instead of atomic renames: 50 ms less a batch, and safe, as our checkpoints are scratch."""

COMPILE_ALL = "-XX:-DontCompileHugeMethods"
"""The code that Spark writes for a query of many features is one method of more than 8,000 bytes, and those the JVM
interprets for ever unless told otherwise: with 47 features a decision took 108 microseconds of a core instead of 70."""

REDACT = "(?i)secret|password|passphrase|token|jaas|keystore|access[.]?key|url"
"""Options that Spark must mask in plans and on its web page; its own list knows no `jaas` and no PEM key."""

OF_MEMORY = re.compile(r"\bheap\b|enough space|insufficient memory|OutOfMemory", re.IGNORECASE)
"""In what Java says of memory that it cannot have."""
RAISED = 'Exception in thread "main" '
"""Before what ended spark-submit; frames of a stack follow."""
SAYS_NOTHING = (
    "at ",
    "... ",
    "Error: Could not create the Java Virtual Machine",
    "Error: A fatal exception has occurred",
)
"""What stands after the line that says why Java ended."""


def start(  # noqa: PLR0913 - what a session is made of
    spark: SparkSettings,
    *,
    name: str,
    java_home: Path,
    jars: Sequence[Path],
    log_file: Path,
    conf: Mapping[str, str] = MappingProxyType({}),
    java_options: Sequence[str] = (),
) -> "SparkSession":
    """A session with the Kafka connector. Spark's own narration goes to `log_file`, not to the terminal.

    `conf` is what this command's queries need beyond what all need, `java_options` what its JVM is told beyond that.
    Raises StreamError where Java or Spark does not start, ServiceError where `log_file` cannot be written.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkRuntimeError
    from pyspark.logger import PySparkLogger
    from pyspark.sql import SparkSession

    # PySpark repeats every error of a query on stderr, with a page of Java; ours say it in a sentence.
    for logger in ("DataFrameQueryContextLogger", "SQLQueryContextLogger"):
        PySparkLogger.getLogger(logger).disabled = True
    if not log.isEnabledFor(logging.DEBUG):
        _hush_py4j()
    os.environ["JAVA_HOME"] = str(java_home)
    # Workers must run this very interpreter, where our dependencies are. Where a cluster has its own at another path, only
    # the variable says so: PySpark does not look at spark.pyspark.python. On this machine one of the shell's is of others.
    if spark.is_local:
        os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    if spark.is_local:
        # The only word that Spark's web page takes on where to listen; without it, at every address of the machine.
        os.environ["SPARK_LOCAL_IP"] = LOOPBACK
    _look_for_master(spark.master)
    builder = SparkSession.builder.appName(f"fraudstream {name}").master(spark.master)
    for key, value in (_conf(spark, jars, java_options) | dict(conf)).items():
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
    """Raise StreamError where nobody listens at a standalone master: Spark itself tries for a minute, and says less."""
    if not master.startswith("spark://"):
        return
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        with suppress(OSError, ValueError):
            socket.create_connection((host.strip("[]"), int(port)), MASTER_SECONDS).close()
            return
    raise StreamError(
        f"No Spark master answers at {master}.",
        hint="Check FRAUDSTREAM_SPARK__MASTER, and that the master runs and this machine reaches it.",
    )


def _no_java(spark: SparkSettings, log_file: Path, written: str) -> StreamError:
    """The error for a JVM that ended at once: as a rule for a heap that it cannot have, or a master that lacks something."""
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
    """The error for a Spark that gave up inside its JVM, with a page of Java."""
    if "spark.driver.memory" in said:
        return StreamError(
            f"Spark did not start: {spark.driver_memory} of memory is too little.",
            hint=f"Set FRAUDSTREAM_SPARK__DRIVER_MEMORY to 1g or more. See {log_file}.",
        )
    # A master that does not answer is given up after a minute.
    return StreamError(
        f"Spark did not start with master {spark.master}.",
        hint=f"Check FRAUDSTREAM_SPARK__MASTER, and that the master runs. See {log_file}.",
    )


def _hush_py4j() -> None:
    """When the JVM dies, every call that waits for it writes a page of Python; `ended` says it in a sentence."""
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    logging.getLogger().addFilter(_is_no_lost_command)  # the root logger's own records, which py4j writes to


def _hush_accumulators(session: "SparkSession") -> None:
    """When the JVM dies, PySpark's server of counters prints a traceback over the sentence that says so."""
    server = session.sparkContext._accumulatorServer  # noqa: SLF001 - nobody else gives it

    def tell_others(request: Any, client: Any) -> None:
        if not isinstance(sys.exception(), (EOFError, ConnectionError)):
            type(server).handle_error(server, request, client)

    server.handle_error = tell_others  # type: ignore[method-assign, assignment]


def _is_no_lost_command(record: logging.LogRecord) -> bool:
    return "while sending command" not in str(record.msg)


def ended(session: "SparkSession", seconds: float = 0.0) -> bool:
    """Whether the JVM of this session is gone, or is within so many seconds."""
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
    """End the session; nothing is left to end where its JVM is gone."""
    if not ended(session):
        session.stop()


def _leave_signals_to_us(session: "SparkSession") -> None:
    """Let the JVM ignore the signals that end a command.

    A closed terminal, `kill -- -PGID` and a service manager send them to every process at once; the JVM would be gone
    before the stream that runs in it has ended. It ends when its standard input does, which is with this process.
    """
    signals = session.sparkContext._jvm.sun.misc  # type: ignore[union-attr]  # noqa: SLF001 - the way to the JVM
    for name in ("TERM", "HUP"):
        signals.Signal.handle(signals.Signal(name), signals.SignalHandler.SIG_IGN)


def _conf(spark: SparkSettings, jars: Sequence[Path], java_options: Sequence[str]) -> dict[str, str]:
    # Executors, too: of their own accord they write a page for every query that is relieved, as long as a stream lives.
    # Where fraudstream is installed at another path on their machine, Spark's own settings of the log hold.
    everywhere = (f"-Dlog4j2.configurationFile={LOG_CONFIG.as_uri()}", COMPILE_ALL)
    return {
        "spark.jars": ",".join(map(str, jars)),
        "spark.driver.memory": spark.driver_memory,
        **_place(spark),
        "spark.driver.extraJavaOptions": " ".join(map(quoted, (*everywhere, *java_options))),
        # Not `extraJavaOptions`, which a cluster's own spark-defaults.conf may set: these stand before those.
        "spark.executor.defaultJavaOptions": " ".join(map(quoted, everywhere)),
        "spark.ui.enabled": str(spark.ui).lower(),
        # The page asks for no password, and a form on any page that is open in a browser here could end a stream.
        "spark.ui.killEnabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.adaptive.enabled": "false",  # re-plans shuffles, of which the streams have none
        "spark.sql.streaming.checkpointFileManagerClass": CHECKPOINTS,
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
        # A topic may allow messages of many megabytes; ten thousand of those are not one batch.
        "spark.sql.execution.arrow.maxBytesPerBatch": str(64 << 20),
        "spark.redaction.regex": REDACT,
        "spark.sql.redaction.options.regex": REDACT,
    }


def own_jars() -> list[Path]:
    """Spark's own jars: of SPARK_HOME where it is set, else those inside PySpark."""
    from pyspark.find_spark_home import _find_spark_home

    return sorted(Path(_find_spark_home(), "jars").glob("*.jar"))


def _place(spark: SparkSettings) -> dict[str, str]:
    """Where the driver is found, and what a cluster gives to this command."""
    if spark.is_local:
        return {
            # Not every machine's name resolves; on one machine the loopback address always works.
            "spark.driver.host": LOOPBACK,
            "spark.driver.bindAddress": LOOPBACK,
            # Every user of the machine reaches that address: without this, broadcasts and tasks are theirs for the
            # asking. Spark draws the secret itself, and keeps it in the process.
            "spark.authenticate": "true",
            # Not on a cluster: a daemon starts before Spark has shipped our module to its machine.
            "spark.python.daemon.module": "fraudstream.spark.daemon",
        }
    wanted = {
        "spark.driver.host": spark.driver_host,
        "spark.driver.bindAddress": spark.driver_bind_address,
        # A standalone cluster gives the first application all that it has, and the second one nothing.
        "spark.cores.max": spark.cores_max,
        "spark.executor.memory": spark.executor_memory,
    }
    return {name: str(value) for name, value in wanted.items() if value is not None}


@contextmanager
def _output_to(file: Path) -> Iterator[None]:
    """Lend `file` to the JVM that starts now as its stdout and stderr; ours stay for data and narration.

    Raises ServiceError where it cannot be written.
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
