"""The embedded Kafka: Apache Kafka's own broker in KRaft mode, one node, on the loopback address."""

import base64
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from fraudstream.local import classes, failures
from fraudstream.local.home import Home, unusable, workshop
from fraudstream.local.jars import KAFKA_VERSION, kafka_jars
from fraudstream.local.java import COMPILE_LATER, find_java
from fraudstream.local.processes import (
    LOOPBACK,
    Process,
    choose_port,
    find,
    keep_port,
    serve,
    set_aside,
    size,
    tail,
)
from fraudstream.logs import get_logger
from fraudstream.settings import Settings

log = get_logger("local.kafka")

NAME = f"Kafka {KAFKA_VERSION}"
PORT, CONTROLLER_PORT = 19092, 19093
START_SECONDS = 90.0
"""A start takes 2 s on an idle machine, 6 s on a busy one; replaying the log after a kill -9 takes longer."""
STOP_SECONDS = 30.0
"""A stop takes 0.4 s if the broker is idle; under load it first flushes."""

_PROPERTIES = """\
# Written by fraudstream at every start; changes are lost.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
# Relative to the working directory: an absolute path with a comma in it would be two directories.
log.dirs={data}
num.partitions={partitions}
# One broker can store one copy. A single partition of each internal topic instead of 50 is enough for one
# machine, and the first consumer group does not wait for 50 directories to be created.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# A group with one consumer need not wait for others.
group.initial.rebalance.delay.ms=0
# A killed broker is still registered when it starts again, and the controller, which is the same process, refuses
# the new one until that session has ended: 9 s by default.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
# A week to consume what was produced. Age counts from arrival: replayed history has old times, because of
# which it would be deleted before it is read.
log.retention.hours=168
log.message.timestamp.type=LogAppendTime
"""

_LOGGING = """\
status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName=${sys:fraudstream.log}
appender.file.filePattern=${sys:fraudstream.log}.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %m (%c)%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=2
rootLogger.level=info
rootLogger.appenderRef.file.ref=file
"""


@dataclass(frozen=True, slots=True)
class EmbeddedKafka:
    """One broker with its data in `home`."""

    home: Home

    @property
    def data(self) -> Path:
        """The formatted storage; it exists completely or not at all."""
        return self.home.kafka / "data"

    @property
    def properties(self) -> Path:
        """The broker's settings; it is on its command line, so its process is recognised by it."""
        return self.home.kafka / "server.properties"

    @property
    def log(self) -> Path:
        """The broker's log, rotated at 10 MB."""
        return self.home.logs / "kafka.log"

    @property
    def output(self) -> Path:
        """The output of the JVM itself: a heap that does not fit, a crash."""
        return self.home.logs / "kafka.out.log"

    @property
    def servers(self) -> str | None:
        """Bootstrap servers of the last start, or None if there was none."""
        port = self.home.remembered("kafka").get("port")
        return f"{LOOPBACK}:{port}" if port else None

    def process(self) -> Process | None:
        """The running broker, or None."""
        return find(self.home.pid("kafka"), "java", str(self.properties), self.home.kafka)

    def answers(self, seconds: float = 3.0) -> bool:
        """Whether our broker, not another program on its port, answers a metadata request."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        ours = self.cluster_id()
        if self.servers is None or ours is None:
            return False
        config: dict[str, Any] = {"log_level": "0", "error_cb": _ignore, "reconnect.backoff.max.ms": "100"}
        client = AdminClient(config | {"bootstrap.servers": self.servers})
        try:
            return bool(client.list_topics(timeout=seconds).cluster_id == ours)
        except KafkaException:
            return False

    def cluster_id(self) -> str | None:
        """The id that the storage was formatted with, or None if it was not."""
        try:
            text = (self.data / "meta.properties").read_text(encoding="utf-8")
        except OSError:
            return None
        return next(
            (line.partition("=")[2] for line in text.splitlines() if line.startswith("cluster.id=")), None
        )

    def start(self, settings: Settings, cancelled: Event) -> bool:
        """Start the broker and wait until it answers; False if it already did. Raises ServiceError."""
        running = self.process()
        if running is not None and self._answers_in_time(running, cancelled):
            return False
        if running is not None:
            log.warning("Kafka (process %d) does not answer; starting it again.", running.pid)
            self.stop()
        for place in (self.data, self.properties):
            self.home.require_own("kafka", place)
        failures.require_space(self.data, failures.OLD_BYTES if self.data.exists() else failures.NEW_BYTES)
        jars = kafka_jars(settings)
        java = find_java().binary

        log.info("Starting %s.", NAME)

        def options(*, write: bool) -> list[str]:
            archive = classes.options(settings.jar_cache, java, jars, write=write)
            return [*archive, *self._java_options(jars)]

        def launch() -> None:
            self._configure(settings.kafka.partitions)
            self._format([str(java), *options(write=False)])
            self._launch([str(java), *options(write=True)], cancelled)

        failures.on_free_port(launch)
        return True

    def _answers_in_time(self, running: Process, cancelled: Event) -> bool:
        """Whether our running broker answers, or does so soon because its start has not ended.

        The command that began the start may be gone. A broker stopped while it replays its log begins anew, each time.
        """
        if self.answers(10.0):
            return True
        if self.home.remembered("kafka").get("answered") == running.born:
            return False
        deadline = time.monotonic() + START_SECONDS
        while not self.answers(0.5) and not cancelled.is_set():
            if not running.alive() or time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def stop(self) -> bool:
        """Stop the broker; False if none ran. If it does not stop in time it is killed, which is logged."""
        process = self.process()
        if process is None:
            self.home.pid("kafka").unlink(missing_ok=True)
            return False
        process.send(signal.SIGTERM)
        if not process.wait(STOP_SECONDS):
            log.warning("Kafka did not stop within %g s and was killed.", STOP_SECONDS)
            process.send(signal.SIGKILL)
            process.wait(STOP_SECONDS)
        self.home.pid("kafka").unlink(missing_ok=True)
        return True

    def _configure(self, partitions: int) -> None:
        """Write the broker's files, with the ports of the last start if they are still free."""
        last = self.home.remembered("kafka")
        port = keep_port("Kafka", last.get("port"), PORT)
        controller_port = choose_port(last.get("controller_port"), CONTROLLER_PORT, avoid=port)
        self.home.remember("kafka", port=port, controller_port=controller_port)
        try:
            self.properties.write_text(self._properties("data", partitions), encoding="ascii")
            (self.home.kafka / "log4j2.properties").write_text(_LOGGING, encoding="ascii")
        except OSError as error:
            raise unusable(self.home.kafka, error) from None

    def _properties(self, data: str, partitions: int) -> str:
        """The broker's settings with `data` as its storage, below its working directory."""
        ports = self.home.remembered("kafka")
        return _PROPERTIES.format(
            host=LOOPBACK,
            port=ports["port"],
            controller_port=ports["controller_port"],
            data=data,
            partitions=partitions,
        )

    def _format(self, java: list[str]) -> None:
        """Create the storage if there is none: in another directory, then moved, so that a partial one is never used."""
        if self.data.exists():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        with workshop(self.home.kafka) as place:
            properties = place / "format.properties"
            try:
                properties.write_text(self._properties(f"{place.name}/data", 1), encoding="ascii")
            except OSError as error:
                raise unusable(place, error) from None
            # The first compiler only: this JVM then takes 0.7 s instead of 1.9 s.
            command = [*java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
            # `=` keeps an identifier that begins with a dash from being read as an option.
            command += ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties)]
            failures.run(command, NAME, cwd=self.home.kafka, path=self.log, data=self.home.kafka)
            (place / "data").rename(self.data)

    def _java_options(self, jars: list[Path]) -> list[str]:
        logging = (self.home.kafka / "log4j2.properties").as_uri()
        options = [f"-Dlog4j2.configurationFile={logging}", f"-Dfraudstream.log={self.log}"]
        return [*options, "-Djava.awt.headless=true", "-cp", ":".join(map(str, jars))]

    def _launch(self, java: list[str], cancelled: Event) -> None:
        """Launch the broker and wait until it answers. Raises ServiceError with the reason in its log."""
        set_aside(self.output)
        marks = {path: size(path) for path in (self.log, self.output)}
        # 512 MB suffice for hundreds of partitions; the serial collector starts faster and has no threads of its own.
        memory = ["-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"]
        command = [*java, *memory, *COMPILE_LATER, "kafka.Kafka", str(self.properties)]
        pid_file = self.home.pid("kafka")
        with self.home.alone("kafka") as held:
            process = serve(pid_file, command, output=self.output, cwd=self.home.kafka, held=held)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers(0.5):
            if not process.alive():
                written = "".join(tail(path, mark) for path, mark in marks.items())
                raise failures.explain(NAME, written, self.log, self.data)
            if cancelled.is_set() or time.monotonic() > deadline:
                self.stop()
                raise failures.no_answer(NAME, START_SECONDS, self.log)
            time.sleep(0.02)
        self.home.remember("kafka", answered=process.born)


def _ignore(_error: object) -> None:
    """Ignore that the broker is not up yet, as we are waiting for it."""
