"""What Spark is told for one machine and for a cluster, without starting it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fraudstream.errors import ServiceError
from fraudstream.settings import SparkSettings
from fraudstream.spark import session


def conf(**settings: object) -> dict[str, str]:
    return session._conf(SparkSettings.model_validate(settings), [], [])


def test_on_one_machine_the_driver_is_on_the_loopback_address_whatever_is_set_for_a_cluster() -> None:
    told = conf(master="local[4]", driver_host="consume", cores_max=2)
    assert told["spark.driver.host"] == told["spark.driver.bindAddress"] == "127.0.0.1"
    assert "spark.cores.max" not in told


@pytest.mark.parametrize("master", ["local", "local[4]", "local[*]", "local[4,2]"])
def test_on_one_machine_spark_draws_a_secret_without_which_its_ports_answer_nobody(master: str) -> None:
    assert conf(master=master)["spark.authenticate"] == "true"


@pytest.mark.parametrize("master", ["spark://spark-master:7077", "local-cluster[2,1,1024]"])
def test_on_a_cluster_its_own_settings_say_whether_there_is_a_secret(master: str) -> None:
    """Spark draws none there, and would refuse to start."""
    assert "spark.authenticate" not in conf(master=master)


def test_on_a_cluster_spark_finds_out_where_the_driver_is_unless_it_is_set() -> None:
    told = conf(master="spark://spark-master:7077")
    assert not {"spark.driver.host", "spark.driver.bindAddress"} & told.keys()
    told = conf(
        master="spark://spark-master:7077",
        driver_host="consume.example",
        driver_bind_address="10.0.0.7",
    )
    assert told["spark.driver.host"] == "consume.example"
    assert told["spark.driver.bindAddress"] == "10.0.0.7"


def test_nobody_ends_a_stream_from_sparks_web_page() -> None:
    assert conf(ui=True)["spark.ui.killEnabled"] == "false"


def test_several_commands_share_a_cluster_when_each_has_its_share_of_the_cores() -> None:
    told = conf(master="spark://spark-master:7077", cores_max=2, executor_memory="700m")
    assert told["spark.cores.max"] == "2"
    assert told["spark.executor.memory"] == "700m"


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        ("1k", "Too small maximum heap"),
        ("99999g", "Could not reserve enough space"),
        ("100m", "100m of memory is too little"),
    ],
)
def test_a_memory_that_java_cannot_have_is_named_with_its_setting(
    memory: str, words: str, tmp_path: Path
) -> None:
    """In a process of its own, as a session that runs already would be taken instead."""
    program = f"""
from pathlib import Path
from fraudstream.errors import StreamError
from fraudstream.local.java import find_java
from fraudstream.settings import SparkSettings
from fraudstream.spark import session

try:
    session.start(SparkSettings(driver_memory={memory!r}), name="x", java_home=find_java().home, jars=[],
                  log_file=Path({str(tmp_path / "spark.log")!r}), scratch=Path({str(tmp_path)!r}))
except StreamError as error:
    print(error.message, error.hint)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert words in done.stdout, done.stderr
    assert "FRAUDSTREAM_SPARK__DRIVER_MEMORY" in done.stdout


OPTION = """\
Unrecognized VM option 'UseNothing'
Error: Could not create the Java Virtual Machine.
Error: A fatal exception has occurred. Program will exit.
"""
DUMPS = """\
Picked up JAVA_TOOL_OPTIONS: -XX:+HeapDumpOnOutOfMemoryError
Exception in thread "main" java.lang.ClassNotFoundException: org.example.Nothing
\tat java.base/java.lang.Class.forName0(Native Method)
"""
KILLED = """\
# There is insufficient memory for the Java Runtime Environment to continue.
# An error report file with more information is saved as:
# /tmp/hs_err_pid7.log
"""


@pytest.mark.parametrize(
    ("written", "said", "hinted"),
    [
        (OPTION, ": Unrecognized VM option 'UseNothing'.", "See spark.log"),
        (KILLED, "insufficient memory for the Java Runtime", "DRIVER_MEMORY"),
        (DUMPS, ": java.lang.ClassNotFoundException: org.example.Nothing.", "See spark.log"),
        ("", "did not start.", "See spark.log"),
    ],
)
def test_a_java_that_does_not_start_says_why_and_blames_memory_only_for_what_memory_did(
    written: str, said: str, hinted: str
) -> None:
    error = session._no_java(SparkSettings(), Path("spark.log"), written)
    assert said in error.message
    assert hinted in error.hint
    assert ("DRIVER_MEMORY" in error.hint) == ("memory" in error.message)


def test_on_one_machine_nothing_of_spark_listens_beyond_it_not_even_its_web_page(tmp_path: Path) -> None:
    """In a process of its own, with a variable that names every address."""
    program = f"""
from pathlib import Path
import psutil
from fraudstream.local.java import find_java
from fraudstream.settings import SparkSettings
from fraudstream.spark import session

spark = session.start(SparkSettings(ui=True), name="x", java_home=find_java().home, jars=[],
                      log_file=Path({str(tmp_path / "spark.log")!r}), scratch=Path({str(tmp_path)!r}))
print(spark.sparkContext.uiWebUrl)
for child in psutil.Process().children(recursive=True):
    for socket in child.net_connections("tcp"):
        if socket.status == psutil.CONN_LISTEN:
            print("listens", socket.laddr.ip.removeprefix("::ffff:"), socket.laddr.port)
session.stop(spark)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"SPARK_LOCAL_IP": "0.0.0.0"},  # noqa: S104 - what must not win
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page, *sockets = done.stdout.splitlines()
    listens = [line.split()[1:] for line in sockets]
    assert page.rpartition(":")[2] in {port for _, port in listens}, "the page is among them"
    assert {address for address, _ in listens} == {"127.0.0.1"}


def test_a_home_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with (
        pytest.raises(ServiceError, match=r"/home/logs cannot be used: Not a directory\.") as caught,
        session._output_to(tmp_path / "home" / "logs" / "spark.log"),
    ):
        pass
    assert "FRAUDSTREAM_HOME" in caught.value.hint


def test_what_a_master_needs_is_said_instead_of_a_frame_of_javas_stack(tmp_path: Path) -> None:
    written = """Exception in thread "main" org.apache.spark.SparkException: When running with master 'yarn' either \
HADOOP_CONF_DIR or YARN_CONF_DIR must be set in the environment.
\tat org.apache.spark.deploy.SparkSubmitArguments.error(SparkSubmitArguments.scala:649)
\tat org.apache.spark.deploy.SparkSubmit.main(SparkSubmit.scala)
"""
    found = session._no_java(SparkSettings(master="yarn"), tmp_path / "spark.log", written)
    assert found.message.endswith("HADOOP_CONF_DIR or YARN_CONF_DIR must be set in the environment.")
    assert "FRAUDSTREAM_SPARK__MASTER" in found.hint
    assert "MEMORY" not in found.hint
