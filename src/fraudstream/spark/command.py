"""What every command that runs Spark needs: Java, jars and a session."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from fraudstream.errors import StreamError
from fraudstream.logs import get_logger
from fraudstream.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = get_logger("spark")


@contextmanager
def spark_session(
    settings: Settings,
    name: str,
    conf: Mapping[str, str] = MappingProxyType({}),
    *,
    brief: bool = False,
) -> Iterator["SparkSession"]:
    """A session for one command, stopped at its end. Raises JavaMissing, JarsMissing, StreamError.

    Also raises StreamError if the JVM dies during the block. A `brief` session ends by itself, and leaves an archive from
    which later ones start faster.
    """
    from py4j.protocol import Py4JError

    from fraudstream.local import classes
    from fraudstream.local.home import Home
    from fraudstream.local.jars import spark_jars
    from fraudstream.local.java import find_java
    from fraudstream.spark import session
    from fraudstream.spark.scratch import scratch

    java = find_java()
    jars = spark_jars(settings)
    log.info(
        "starting Spark %s", "on this machine" if settings.spark.is_local else f"at {settings.spark.master}"
    )
    home = Home.of(settings)
    home.prepare_logs()
    log_file = home.logs / f"spark-{name}.log"
    archive = classes.options(settings.jar_cache, java.binary, session.own_jars(), write=brief)
    with scratch() as place:
        spark = session.start(
            settings.spark,
            name=name,
            java_home=java.home,
            jars=jars,
            log_file=log_file,
            scratch=place,
            conf=conf,
            java_options=archive,
        )
        try:
            yield spark
        except (Py4JError, ConnectionError, StreamError) as error:
            if not session.ended(spark, session.JVM_SECONDS):
                raise
            raise StreamError(
                "Spark's Java process is gone: it was killed, or it ran out of memory.",
                hint=f"Restart the command: it resumes where it stopped. {log_file} may show why."
                " FRAUDSTREAM_SPARK__DRIVER_MEMORY gives it more memory.",
            ) from error
        finally:
            session.stop(spark)
