"""A real Spark standalone cluster on this machine: one master and two workers from the pip package."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

from fraudstream.local import classes
from fraudstream.local.java import find_java
from fraudstream.settings import Settings
from fraudstream.spark.session import own_jars

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Cluster:
    """Where the master listens, and what the workers left."""

    master: str
    work: Path
    restart_master: Callable[[], None]
    """Kill it, and start it again where it was."""

    def executors(self) -> list[Path]:
        """The directories of executors that ran, over all workers."""
        return sorted(self.work.glob("worker-*/app-*/*"))


@contextmanager
def cluster(home: Path, *, workers: int = 2, cores: int = 2) -> Iterator[Cluster]:
    """Start it, wait until every worker is registered, and end it by the numbers of its own processes."""
    port = _free_port()
    master = f"spark://{LOOPBACK}:{port}"
    arguments = ("master.Master", "--host", LOOPBACK, "--port", str(port), "--webui-port", "0")
    log = home / "master.log"
    started = [_start(home, "master", *arguments)]

    def restart_master() -> None:
        started[0].kill()
        started[0].wait(60)
        # The first one's word stays in the file: the second one's has to follow it.
        begun = _text(log).count("Starting Spark master")
        started[0] = _start(home, "master", *arguments)
        _until(lambda: _text(log).count("Starting Spark master") > begun, "master", started[0])

    try:
        _until(lambda: "Starting Spark master" in _text(log), "master", started[0])
        started += [
            _start(
                home, f"worker-{number}", "worker.Worker", "--host", LOOPBACK, "--cores", str(cores),
                "--memory", "1g", "--webui-port", "0", "--work-dir", str(home / f"worker-{number}"), master,
            )
            for number in range(workers)
        ]  # fmt: skip
        _until(lambda: len(re.findall("Registering worker", _text(log))) == workers, "workers", started[0])
        yield Cluster(master, home, restart_master)
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(60)


def _start(home: Path, name: str, kind: str, *arguments: str) -> "subprocess.Popen[bytes]":
    package, java = Path(pyspark.__file__).parent, find_java()
    archive = classes.options(Settings(_env_file=None).jar_cache, java.binary, own_jars(), write=False)
    environment = os.environ | {
        "JAVA_HOME": str(java.home),
        "SPARK_HOME": str(package),
        "SPARK_LOCAL_IP": LOOPBACK,
        # Executors run this interpreter, where fraudstream is installed: what our image is for elsewhere.
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_DAEMON_MEMORY": "256m",
        # As in conftest.py, and no threads that collect garbage; executors inherit it from their worker.
        "JAVA_TOOL_OPTIONS": " ".join(("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *archive)),
        # As in compose.yaml.
        "SPARK_MASTER_OPTS": "-Dspark.deploy.recoveryMode=FILESYSTEM"
        f" -Dspark.deploy.recoveryDirectory={home / 'recovery'}",
    }
    with (home / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [str(package / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


def _text(path: Path) -> str:
    return path.read_text(errors="replace")


def _until(true: Callable[[], bool], what: str, process: "subprocess.Popen[bytes]") -> None:
    """Poll until `true()`; a deadline far beyond any honest start."""
    deadline = time.monotonic() + 120
    while not true():
        assert process.poll() is None, f"the {what} ended at once"
        assert time.monotonic() < deadline, f"no {what} after two minutes"
        time.sleep(0.1)
